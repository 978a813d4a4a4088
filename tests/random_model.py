"""A small XLM-RoBERTa with random weights and a Unigram tokenizer, written as sentence-transformers writes a model."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

WORDS = ("▁Klemme", "▁Leuchte", "▁Schutz", "schalter", "▁Größe", "▁daß", "▁€", "▁断路器", "▁🔌", "▁rail", "▁query", ":")
LETTERS = "abcdefghijklmnopqrstuvwxyzäöüßABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ0123456789,.:-×▁"


def write_model(
    folder: Path, *, layers: int = 3, hidden: int = 96, positions: int = 130, seed: int = 711, spread: float = 0.3
) -> None:
    """Writes the model's folder. Its weights are spread widely: vectors of different texts differ, and a wrong
    position, bias or norm shows."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    pieces = [*WORDS, *LETTERS, *("".join(each) for each in itertools.product(LETTERS[:30], repeat=2))]
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    vocabulary += [(piece, -8.0 + 2 * len(piece)) for piece in dict.fromkeys(pieces)]
    vocabulary += [(f"<{at}>", -30.0) for at in range(1100 - len(vocabulary))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=positions,
        initializer_range=spread,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    for name, each in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(each, std=spread)
    model.save_pretrained(folder, safe_serialization=True)
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    _write(
        folder / "modules.json",
        [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (kind, path) in enumerate(zip(modules, paths, strict=True))
        ],
    )
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True})
    (folder / "2_Normalize").mkdir()
    _write(folder / "sentence_bert_config.json", {"max_seq_length": positions - 2, "do_lower_case": False})


def _write(file: Path, value: object) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value))

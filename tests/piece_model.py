"""A Unigram tokenizer trained here, as XLM-RoBERTa's: a SentencePiece file, and a `tokenizer.json` with other ids."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

from shared.encoder import TOKENIZER

WORDS = [
    *("Klemme", "Leuchte", "Netzteil", "Schutzart", "Größe", "daß", "Straße", "Übermaß", "für", "und", "der", "die"),
    *("rail", "power", "supply", "lamp", "torque", "断路器", "额定电流", "コンセント", "콘센트", "€", "49,90", "230"),
    *("V", "IP65", "mm²", "Ω", "µF", "№", "½", "query:", "passage:", "🔌", "🙂"),
]


def dice_of(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # texts, not secrets


def write_tokenizer(folder: Path) -> None:
    """Writes the two files."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    dice, written = dice_of(1), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(dice.choices(WORDS, k=12)) for _ in range(2000)),
        model_writer=written,
        vocab_size=400,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.model").write_bytes(written.getvalue())
    proto: Any = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
    vocabulary = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(each.piece, each.score) for each in proto.pieces[3:]] + [("<mask>", 0.0)]
    fast = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    fast.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    fast.add_special_tokens([AddedToken(each) for each in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")])
    fast.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    fast.save(str(folder / TOKENIZER))

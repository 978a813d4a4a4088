"""The model as a folder that runs without torch, made once and kept in the model cache by the digest of its weights.

`python -m servers.cradle.embedding.export SOURCE TARGET FORM` is the child process that loads torch; it reads the card
from standard input.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

import orjson

from servers.cradle.embedding.models import ModelFiles
from shared.durable import sync_files
from shared.encoder import CARD, GRAPH, TOKENIZER, ModelCard, read_card
from shared.errors import StorageFull, Unavailable
from shared.settings import Settings

Form = Literal["openvino", "onnx"]
FILES: dict[Form, tuple[str, str]] = {"openvino": (GRAPH, "model.bin"), "onnx": ("model.onnx", "model.bin")}
EXPORT_DEADLINE_S = 1800.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def exported_at(settings: Settings, card: ModelCard, form: Form) -> Path:
    """The folder of an exported model."""
    return settings.models / form / card.weights_digest.removeprefix("sha256:")


async def exported(settings: Settings, model: ModelFiles, form: Form = "openvino") -> Path:
    """The model's exported folder; made now if it is not there yet."""
    folder = exported_at(settings, model.card, form)
    if not await asyncio.to_thread(is_exported, folder, model.card, form):
        await export_model(model, folder, form)
    return folder


def is_exported(folder: Path, card: ModelCard, form: Form = "openvino") -> bool:
    """Whether the folder holds this very model, with this tokenizer, pooling and prefixes."""
    try:
        return read_card(folder) == card and all((folder / name).is_file() for name in (*FILES[form], TOKENIZER))
    except Unavailable:
        return False


async def export_model(model: ModelFiles, target: Path, form: Form = "openvino") -> None:
    """Writes the folder at `target`, all at once; the same model gives the same bytes. Replaces what was there.

    Raises:
        Unavailable: torch could not convert the model, or not in time.
        StorageFull: no room for the weights.
    """
    try:
        draft = await asyncio.to_thread(_draft_beside, target)
    except OSError:
        raise _no_room() from None
    try:
        await _convert_in_child(model, draft, form)
        await asyncio.to_thread(_complete, model, draft)
        await asyncio.to_thread(_publish, draft, target, model.card, form)
    except OSError:
        raise _no_room() from None
    finally:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)


async def _convert_in_child(model: ModelFiles, draft: Path, form: Form) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(model.folder), str(draft), form),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **OFFLINE},
        cwd=Path(__file__).parents[3],
    )
    try:
        async with asyncio.timeout(EXPORT_DEADLINE_S):
            await child.communicate(model.card.model_dump_json().encode())
    except TimeoutError:
        raise Unavailable("The model could not be prepared in time. Start again on a faster machine.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        if shutil.disk_usage(draft).free < sum(file.stat().st_size for file in model.folder.glob("*.safetensors")):
            raise _no_room()  # what is converted is about as large, and libraries do not say why they could not write
        raise Unavailable(
            f"The model {model.card.model} could not be converted. "
            "Set P0711_EMBEDDING_BACKEND=sentence-transformers to serve it with torch."
        )


def _draft_beside(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))


def _complete(model: ModelFiles, draft: Path) -> None:
    shutil.copyfile(model.folder / TOKENIZER, draft / TOKENIZER)
    (draft / CARD).write_bytes(orjson.dumps(model.card.model_dump(), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
    for file in draft.iterdir():
        file.chmod(0o644)
    draft.chmod(0o755)
    sync_files(draft)  # before it has its name: after a power cut a folder that has one is taken for whole


def _publish(draft: Path, target: Path, card: ModelCard, form: Form) -> None:
    """Into place by one rename. Another process may have been first: then its folder stays."""
    if target.exists() and not is_exported(target, card, form):
        aside = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
        target.rename(aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
    try:
        draft.rename(target)
    except OSError:
        if not is_exported(target, card, form):
            raise


def _no_room() -> StorageFull:
    return StorageFull("The model cache cannot be written: free space or set P0711_MODEL_CACHE to another folder.")


if __name__ == "__main__":
    if sys.argv[3] == "onnx":
        from servers.cradle.embedding.backends.onnx_graph import convert
    else:
        from servers.cradle.embedding.backends.conversion import convert

    convert(Path(sys.argv[1]), Path(sys.argv[2]), ModelCard.model_validate_json(sys.stdin.buffer.read()))

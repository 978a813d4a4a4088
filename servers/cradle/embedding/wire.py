"""What the HTTP routes read and write: the seed's form, OpenAI's and text-embeddings-inference's. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

from servers.cradle.embedding.scheduler import Priority
from shared.contracts.embedding import MAX_TEXTS, InputType, Text
from shared.errors import InvalidInput, NotAcceptable, NotFound, Overloaded, PlatformError, Unavailable

if TYPE_CHECKING:
    from servers.cradle.embedding.service import Embedded
    from shared.encoder import Vectors

Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
Form = Literal["json", "float32", "float16"]
JSON, RAW = "application/json", "application/octet-stream"
FORMS: dict[Form, tuple[str, str]] = {"json": (JSON, ""), "float32": (RAW, "float32"), "float16": (RAW, "float16")}
WEIGHT = re.compile(r"0(\.\d{0,3})?|\.\d{1,3}|1(\.0{0,3})?")  # `.2` is Java's
MAX_DIMENSIONS = 65_536


class Body(BaseModel):
    """What every body shares. Unknown fields are refused: a misspelt option must not pass for the default."""

    model_config = ConfigDict(extra="forbid")


class TeiOptions(Body):
    """How text-embeddings-inference says it. `prompt_name` is `query` or `passage`."""

    truncate: bool | None = None
    truncation_direction: Literal["Right", "right"] | None = None
    prompt_name: InputType | None = None


class EmbedBody(TeiOptions):
    """`POST /embed` with `texts` (an object comes back) or with TEI's `inputs` (a bare list of vectors comes back)."""

    texts: Texts | None = None
    inputs: Text | Texts | None = None
    normalize: bool | None = None
    dimensions: int | None = Field(None, ge=1, le=MAX_DIMENSIONS)
    input_type: InputType = "passage"
    priority: Priority = "interactive"

    def given(self) -> list[str]:
        """The texts.

        Raises:
            InvalidInput: neither or both of `texts` and `inputs` are there.
        """
        if (self.texts is None) == (self.inputs is None):
            raise InvalidInput(
                "Send a list of texts as `texts`, or `inputs` as text-embeddings-inference takes it.", field="texts"
            )
        return listed(self.inputs) if self.texts is None else self.texts


class OpenAiBody(Body):
    """`POST /v1/embeddings`. The last three are additions (`extra_body` in the openai package)."""

    input: Text | Texts | list[int] | list[list[int]]
    model: str = Field(max_length=200)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, le=MAX_DIMENSIONS)
    user: str | None = Field(None, max_length=200)
    input_type: InputType = "passage"
    truncate: bool = False
    priority: Priority = "interactive"

    def given(self, served: str) -> list[str]:
        """The texts.

        Raises:
            NotFound: another model is asked for.
            InvalidInput: token ids instead of texts.
        """
        if self.model not in (served, served.rsplit("/", 1)[-1]):
            raise NotFound(f"This server has one model: {served}. Ask for that.", field="model")
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not all(isinstance(text, str) for text in texts):
            raise InvalidInput(
                "Send texts: token ids of another model's tokenizer would give wrong vectors "
                "(LangChain: check_embedding_ctx_length=False).",
                field="input",
            )
        return [str(text) for text in texts]


class TokenizeBody(Body):
    """`POST /tokenize`."""

    inputs: Text | Texts
    add_special_tokens: bool = True
    prompt_name: InputType | None = None


class Compared(Body):
    """The `inputs` of `POST /similarity`."""

    source_sentence: Text
    sentences: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS - 1)]


class SimilarityBody(Body):
    """`POST /similarity`."""

    inputs: Compared
    parameters: TeiOptions | None = None


def listed(given: str | list[str] | None) -> list[str]:
    """One text or several, as a list."""
    return [given] if isinstance(given, str) else given or []


def wanted_form(accept: str) -> Form:
    """The form that an `Accept` header prefers (RFC 9110, 12.5.1): by weight, then the one that is named most exactly,
    then the one that is named first; JSON where nothing tells them apart.

    Raises:
        NotAcceptable: no form that is offered.
    """
    ranges = [_range(part, -at) for at, part in enumerate(accept.lower().split(",")) if part.strip()]
    if not ranges:
        return "json"
    found: dict[Form, tuple[float, int, int]] = {}
    for form, (media, dtype) in FORMS.items():
        exact = max(
            (each for each in ranges if each.matches(media, dtype)), key=lambda each: each.exactness, default=None
        )
        if exact is not None and exact.weight > 0:
            found[form] = exact.weight, exact.exactness, exact.place
    if not found:
        raise NotAcceptable(
            f"Vectors come as `{JSON}`, `{RAW}; dtype=float32` or `{RAW}; dtype=float16`: accept one of them.",
            field="accept",
        )
    return max(found, key=lambda form: found[form])


class _Range(NamedTuple):
    """One part of an `Accept` header. `exactness` counts what it names: type, subtype, dtype."""

    media: str
    dtype: str
    weight: float
    exactness: int
    place: int

    def matches(self, media: str, dtype: str) -> bool:
        """Whether it takes such a form."""
        return self.media in (media, f"{media.split('/', maxsplit=1)[0]}/*", "*/*") and self.dtype in ("", dtype)


def _range(part: str, place: int) -> _Range:
    """A part as it is written. A weight that is no number from 0 to 1 makes it none."""
    media, *parameters = (each.strip() for each in part.split(";"))
    named = dict(each.replace(" ", "").split("=", 1) for each in parameters if "=" in each)
    weight = named.get("q", "1")
    dtype = named.get("dtype", "").strip('"')
    exactness = 2 - media.count("*") + bool(dtype)
    media = "*/*" if media == "*" else media
    return _Range(media, dtype, float(weight) if WEIGHT.fullmatch(weight) else 0.0, exactness, place)


def shortened(vectors: Vectors, dimensions: int | None, unit: bool) -> Vectors:
    """The first `dimensions` values of each vector, brought back to length 1 where `unit`."""
    import numpy as np

    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    short = np.ascontiguousarray(vectors[:, :dimensions])
    if unit:
        short /= np.maximum(np.linalg.norm(short, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return short


def seed_answer(result: Embedded) -> bytes:
    """The answer of `POST /embed {"texts": …}`."""
    return _json(
        {
            "embeddings": result.vectors,
            "model": result.model,
            "revision": result.revision,
            "dimension": result.vectors.shape[1],
            "count": len(result.vectors),
            "tokens": result.tokens,
            "truncated": result.truncated,
        }
    )


def tei_answer(result: Embedded) -> bytes:
    """The answer of `POST /embed {"inputs": …}`."""
    return _json(result.vectors)


def openai_answer(result: Embedded, encoding: Literal["float", "base64"]) -> bytes:
    """The answer of `POST /v1/embeddings`; `truncated` is an addition."""
    rows = result.vectors.astype("<f4", copy=False)
    vectors = [base64.b64encode(row.tobytes()).decode() for row in rows] if encoding == "base64" else rows
    return _json(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
            "model": result.model,
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
            "truncated": result.truncated,
        }
    )


def tei_error(error: PlatformError) -> dict[str, Any]:
    """Where clients of text-embeddings-inference look for an error's sentence and its kind."""
    kinds = {InvalidInput: "Validation", Overloaded: "Overloaded", Unavailable: "Unhealthy"}
    kind = next((told for each, told in kinds.items() if isinstance(error, each)), "Backend")
    return {"error": error.message, "error_type": kind}


def raw_answer(result: Embedded, form: Form) -> bytes:
    """Little-endian values, row after row.

    Raises:
        InvalidInput: a value does not fit in 16 bits.
    """
    import numpy as np

    if form == "float32":
        return result.vectors.astype("<f4", copy=False).tobytes()
    if np.abs(result.vectors).max() > np.finfo(np.float16).max:
        raise InvalidInput("A value does not fit in float16: ask for float32.", field="accept")
    return result.vectors.astype("<f2").tobytes()


def answer_headers(result: Embedded) -> dict[str, str]:
    """What answers without room for it tell in headers: shape, tokens, and which texts were cut (`0-2,7`)."""
    return {
        "x-model": result.model,
        "x-revision": result.revision,
        "x-count": str(len(result.vectors)),
        "x-dimension": str(result.vectors.shape[1]),
        "x-tokens": str(result.tokens),
        "x-truncated": ranges(result.truncated),
    }


def ranges(positions: Sequence[int]) -> str:
    """Ascending positions, neighbours drawn together: `0-2,7`. A header of 2,048 positions stays under 8 kB."""
    starts = [at for at, (before, here) in enumerate(pairwise([-2, *positions])) if here != before + 1]
    parts = [positions[start:end] for start, end in pairwise([*starts, len(positions)])]
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)

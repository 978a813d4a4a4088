"""Vision and OCR: what `ocr` takes and gives. Texts in here are customer content."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from shared.contracts.model import Contract
from shared.values import MAX_IMAGE_BYTES

VisionTask = Literal["ocr", "description", "analysis"]
VisionOutput = Literal["text", "markdown", "words"]
ProviderName = Literal["rapidocr", "tesseract", "florence", "openai", "anthropic", "compatible"]
LOCAL_PROVIDERS: frozenset[str] = frozenset({"rapidocr", "tesseract", "florence"})
"""Content stays on the machine with these. A provider that is not named here counts as remote."""

# The arguments of `ocr`, wherever it is offered.
ImageBase64 = Annotated[
    str, Field(min_length=4, max_length=MAX_IMAGE_BYTES * 4 // 3 + 4, description="PNG, JPEG, TIFF, WebP, BMP or PDF.")
]
ObjectKey = Annotated[
    str,
    Field(min_length=1, max_length=1024, description="In place of image_base64: an object of the customer's bucket."),
]
ResourceUri = Annotated[str, Field(min_length=1, max_length=MAX_IMAGE_BYTES * 4 // 3 + 200)]
Pages = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]{0,4}(-([1-9][0-9]{0,4})?)?$",
        description="A page or a range: '3', '2-5', or '8-' to the last. Default: all.",
    ),
]
Output = Annotated[VisionOutput, Field(description="'words' adds lines with boxes.")]
Provider = Annotated[str, Field(max_length=40, description="Default: the operator's setting.")]
JsonSchema = Annotated[
    dict[str, Any], Field(description="A JSON schema of an object; the facts come back in its form.")
]


class ResourceContents(Contract):
    """Contents of an MCP resource, as `resources/read` and embedded resources hold them: base64 in `blob`. Without it
    the URI is resolved. What kind it is shows in the content; further fields are ignored. Holds customer content."""

    model_config = ConfigDict(extra="ignore")

    uri: ResourceUri
    blob: ImageBase64 | None = None


Resource = Annotated[
    ResourceUri | ResourceContents,
    Field(
        description="In place of image_base64: an MCP resource's contents, or a URI: 'data:image/png;base64,…', or "
        "'bucket:path' in the customer's own bucket. Nothing is fetched from elsewhere."
    ),
]


class VisionRequest(Contract):
    """One image (PNG, JPEG, TIFF, WebP, BMP) or PDF: in base64, as an MCP resource, or as the key of an object in the
    customer's bucket. Holds customer content."""

    image_base64: ImageBase64 | None = None
    resource: Resource | None = None
    key: ObjectKey | None = None
    pages: Pages | None = None
    task: VisionTask = "ocr"
    output: Output = "text"
    provider: Provider | None = None
    json_schema: JsonSchema | None = None


class Word(Contract):
    """A line or word as read, with its box in pixels: left, top, right, bottom. A page that lies on its side or upside
    down is turned first: the box is on the page as it is read. Holds customer content."""

    text: str
    confidence: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float]


class VisionPage(Contract):
    """What was read on one page; `data` are the facts where a JSON schema was given. Holds customer content."""

    page: int = Field(ge=1)
    text: str
    words: list[Word] | None = None
    data: dict[str, Any] | None = None


class VisionAttempt(Contract):
    """A provider that could not read a page before another one did. `tokens_in` and `tokens_out` are those of an answer
    that was of no use; they are part of the call's cost."""

    page: int = Field(ge=1)
    provider: str
    code: str
    tokens_in: int = Field(default=0, ge=0)
    tokens_out: int = Field(default=0, ge=0)


class VisionResult(Contract):
    """Pages as read, by whom, and what it cost. Holds customer content."""

    pages: list[VisionPage]
    provider: str
    provider_version: str
    seconds: float = Field(ge=0)
    cost_eur: float | None = Field(None, ge=0, description="By the tokens counted; None where no price is set.")
    estimated_cost_eur: float | None = Field(None, ge=0, description="What it could have cost at most.")
    attempts: list[VisionAttempt] = Field(default_factory=list)
    next_pages: str | None = Field(
        None, description="Those that the answer had no room or time for: ask again with these `pages` for them."
    )

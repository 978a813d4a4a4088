"""What a vision provider is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionOutput, VisionPage, VisionTask


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted of a page: a task, in which form, or facts in the form of a JSON schema."""

    task: VisionTask = "ocr"
    output: VisionOutput = "text"
    json_schema: dict[str, Any] | None = None

    @property
    def words(self) -> bool:
        """Whether a provider that knows boxes gives them: Markdown is made of them."""
        return self.output != "text"


@dataclass(frozen=True, slots=True)
class Answer:
    """A page as read, and the tokens that the provider counted for it (0 where it counts none)."""

    page: VisionPage
    tokens_in: int = 0
    tokens_out: int = 0


class Provider(Protocol):
    """Reads one page image. Implementations raise errors of `shared.errors` only, retryable where another try may help.

    `remote`: content leaves this machine, so a customer marked *local only* never reaches such a provider.
    """

    name: str
    remote: bool
    tasks: frozenset[VisionTask]
    boxes: bool
    schemas: bool

    def parameters(self) -> OcrParameters:
        """Everything that decides what this provider reads; part of the installation's fingerprint."""
        ...

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        """The page with this number (from 1), given as PNG. It may take as long as the caller waits."""
        ...

    async def close(self) -> None:
        """Lets go of models and connections."""
        ...


def fits(provider: Provider, ask: Ask) -> bool:
    """Whether the provider can do what is asked."""
    able = ask.task in provider.tasks and (provider.boxes or ask.output != "words")
    return able and (provider.schemas or ask.json_schema is None)

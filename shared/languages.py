"""The language of a page for a person, and of a text in two."""

from __future__ import annotations

from typing import Literal

Language = Literal["de", "en"]
SEVERAL = "mul"
"""A text that is German and English: ISO 639-2 for more than one language."""
LANGUAGES: dict[str | None, Language] = {"de": "de", "en": "en"}


def language_of(chosen: str | None, accepted: str | None, otherwise: Language) -> Language:
    """The language that was chosen, else the first that the browser accepts, else `otherwise`.

    Args:
        accepted: the header Accept-Language, which browsers write with the best one first.
    """
    for code in (chosen, *(part.split(";")[0].strip().lower()[:2] for part in (accepted or "").split(","))):
        if (language := LANGUAGES.get(code)) is not None:
            return language
    return otherwise

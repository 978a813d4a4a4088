"""Which form of vectors an `Accept` header asks for."""

from __future__ import annotations

import pytest

from servers.cradle.embedding.wire import wanted_form
from shared.errors import NotAcceptable

RAW = "application/octet-stream"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        (" , ", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("application/json, text/plain, */*", "json"),  # axios
        ("text/html, */*;q=0.1", "json"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "json"),  # Java's HttpURLConnection
        ("*", "json"),
        (RAW, "float32"),
        (f"{RAW}; dtype=float32", "float32"),
        (f'{RAW.upper()};DTYPE="float16"', "float16"),
        (f"{RAW}, */*", "float32"),
        (f"{RAW}; dtype=float16, {RAW};q=0.9", "float16"),
        (f"application/json, {RAW}", "json"),
        (f"{RAW}, application/json", "float32"),
        (f"{RAW};q=0.4, application/json;q=0.5", "json"),
        (f"{RAW};q=0.5, application/json;q=0.4", "float32"),
        (f"{RAW};dtype=float32;q=0, {RAW}", "float16"),
        ("application/json;q=0, */*", "float32"),
        (f"application/*;q=0.2, {RAW};dtype=float16;q=0.3", "float16"),
        (f"{RAW};q=2, application/json;q=0.001", "json"),  # a weight that is none
    ],
)
def test_the_form_is_what_the_header_prefers(accept: str, form: str) -> None:
    assert wanted_form(accept) == form


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", f"{RAW};dtype=int8", "*/*;q=0", "application/json;q=0", f"{RAW};q=x", "json"]
)
def test_a_header_that_takes_none_of_the_forms_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="dtype=float32") as refused:
        wanted_form(accept)
    assert refused.value.field == "accept"

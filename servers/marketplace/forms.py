"""Bodies of forms."""

from __future__ import annotations

from urllib.parse import parse_qsl

from shared.errors import InvalidInput


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form.

    Raises:
        InvalidInput: it is no form, or names a field twice.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise InvalidInput("The body is not a form.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidInput("A parameter is given twice.")
    return form

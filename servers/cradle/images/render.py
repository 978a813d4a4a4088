"""Templates of `templates/` filled from an `ImageSpec`, whose values were checked by type."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from servers.cradle.images.spec import STATE, USER, ImageSpec
from shared.contracts.image import ImageBuilt
from shared.signatures import Verifier

if TYPE_CHECKING:
    import jinja2


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    import templates

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(templates.__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - not HTML; values are checked by type before they come here
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["quoted"] = _quoted
    return found


def _quoted(value: object) -> str:
    """JSON: what Dockerfiles and YAML both read as one quoted value, or a list of them."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=True)


def dockerfile(spec: ImageSpec, layers: Sequence[str]) -> str:
    """The Dockerfile that adds these layer archives, lowest first."""
    return _templates().get_template("image/Dockerfile.j2").render(spec=spec, layers=list(layers), user=USER)


def compose(spec: ImageSpec, signer: Verifier) -> str:
    """The `docker-compose.yml` of a delivery.

    Args:
        signer: whose updates the instance accepts.
    """
    template = _templates().get_template("compose/docker-compose.yml.j2")
    return template.render(spec=spec, user=USER, state=STATE, signer=signer.text)


def delivery(name: str, spec: ImageSpec, built: ImageBuilt, signer: Verifier) -> str:
    """A file of the delivery package: `README.md`, `kubernetes.yaml`, `start.sh` or `verify.sh`."""
    template = _templates().get_template(f"delivery/{name}.j2")
    return template.render(spec=spec, built=built, user=USER, state=STATE, signer=signer.text, key_id=signer.key_id)

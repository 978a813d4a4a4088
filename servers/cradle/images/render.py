"""Templates of `templates/` filled from an `ImageSpec`, whose values were checked by type."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from servers.cradle.images import plots
from servers.cradle.images.compression import Gzip
from servers.cradle.images.spec import ENTRYPOINT, STATE, USER, ImageSpec
from servers.cradle.images.streams import Hashing, add_file, tar_onto
from shared.contracts.image import Companion, ImageBuilt
from shared.contracts.verification import LEAST_COSINE, LEAST_RECALL, ImageReport
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
        # what is not HTML gets values that were checked by type before they come here
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["quoted"] = _quoted
    found.filters["megabytes"] = plots.megabytes
    return found


def _quoted(value: object) -> str:
    """JSON: what Dockerfiles and YAML both read as one quoted value, or a list of them."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=True)


def dockerfile(spec: ImageSpec, layers: Sequence[str]) -> str:
    """The Dockerfile that adds these layer archives, lowest first."""
    return (
        _templates()
        .get_template("image/Dockerfile.j2")
        .render(spec=spec, layers=list(layers), user=USER, entrypoint=ENTRYPOINT)
    )


def compose(spec: ImageSpec, signer: Verifier, companions: Sequence[Companion] = ()) -> str:
    """The `docker-compose.yml` of a delivery.

    Args:
        signer: whose updates the instance accepts.
        companions: services beside the instance, each in a profile of its name.
    """
    template = _templates().get_template("compose/docker-compose.yml.j2")
    return template.render(spec=spec, user=USER, state=STATE, signer=signer.text, companions=companions)


def delivery(
    name: str, spec: ImageSpec, built: ImageBuilt, signer: Verifier, companions: Sequence[Companion] = ()
) -> str:
    """A file of the delivery package: `README.md`, `kubernetes.yaml`, `helm-values.yaml` or a script."""
    template = _templates().get_template(f"delivery/{name}.j2")
    architectures = ", ".join(built.image_ids)
    return template.render(
        architectures=architectures,
        spec=spec,
        built=built,
        user=USER,
        state=STATE,
        signer=signer.text,
        key_id=signer.key_id,
        companions=companions,
    )


@cache
def helm_chart() -> bytes:
    """The Helm chart as `helm package` makes one; the same bytes on every run."""
    import templates

    root = Path(templates.__file__).parent / "helm"
    sink = io.BytesIO()
    gzip = Gzip(sink, 3)
    with tar_onto(Hashing(gzip)) as tar:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            data = path.read_bytes()
            add_file(tar, path.relative_to(root).as_posix(), io.BytesIO(data), len(data))
    gzip.close()
    return sink.getvalue()


def report(name: str, found: ImageReport) -> str:
    """A report of a verification: `verification.html` (one page, nothing to load) or `verification.md`."""
    built = found.image
    compressed: dict[str, int] = {}
    for layer in built.layers:
        compressed[layer.kind] = compressed.get(layer.kind, 0) + layer.size_bytes
    platform = sum(size for kind, size in found.unpacked_bytes.items() if kind in ("base", "runtime", "app"))
    return (
        _templates()
        .get_template(f"report/{name}.j2")
        .render(
            report=found,
            built=built,
            failed=sum(not check.passed for check in found.checks),
            layers=plots.sizes(compressed),
            unpacked=plots.sizes(found.unpacked_bytes),
            platform=plots.megabytes(platform),
            ranks=plots.ranks(found.questions.ranks),
            searches=plots.curve(found.questions.milliseconds),
            nearest=plots.curve(found.nearest_ms),
            recall=plots.dots(found.recall, LEAST_RECALL),
            probes=plots.dots(found.probe_cosines, LEAST_COSINE),
            least_recall=LEAST_RECALL,
            least_cosine=LEAST_COSINE,
        )
    )

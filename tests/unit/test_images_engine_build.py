"""An image that the container engine builds, where the engine has it no longer."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from docker.errors import ImageNotFound

from servers.cradle.images.engine import Engine
from servers.cradle.images.spec import ImageSpec
from shared.ids import digest

MANIFEST = b"[]"


class Api:
    """An engine whose image somebody else removes as soon as it is saved."""

    api: Any

    def __init__(self) -> None:
        self.api = self

    def build(self, **_: object) -> Iterator[dict[str, str]]:
        yield {"stream": "built"}

    def inspect_image(self, image: str) -> dict[str, str]:
        return {"Id": digest(image.encode())}

    def get_image(self, *_: object, **__: object) -> Iterator[bytes]:
        saved = io.BytesIO()
        with tarfile.open(fileobj=saved, mode="w") as tar:
            member = tarfile.TarInfo("manifest.json")
            member.size = len(MANIFEST)
            tar.addfile(member, io.BytesIO(MANIFEST))
        yield saved.getvalue()

    def remove_image(self, *_: object, **__: object) -> None:
        raise ImageNotFound("No such image")


def test_an_image_that_was_removed_after_it_was_saved_is_built_all_the_same(tmp_path: Path) -> None:
    spec = ImageSpec(customer_id="acme", tag="p1", fingerprint=digest(b"f"), dataset_digest=digest(b"d"))
    made = Engine(cast(Any, Api()), "unix:///none.sock", "0").build(spec, [], tmp_path / "image.tar")
    assert made.manifest_digest == digest(MANIFEST)

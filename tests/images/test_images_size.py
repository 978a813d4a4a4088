"""What an image leaves out, and what it weighs without a customer's data and model."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from servers.cradle.images import base, runtime, trim
from servers.cradle.images.prepared import prepared_layers

MEGABYTE = 1_000_000
LIMIT_MB = 700
"""The goal is 350. LanceDB's library alone has 185 MB, deltalake's 134, OpenVINO's 93, Arrow's 77, Python 38."""


def names_of(kind: str) -> list[str]:
    if kind == trim.STANDARD_LIBRARY:
        root = Path(re.__file__).parents[1]
        return [path.relative_to(root).as_posix() for path in root.rglob("*") if "site-packages" not in path.parts]
    found = [str(file) for each in runtime.distributions() for file in each.files or []]
    return [name for name in found if not name.startswith("..")]


@pytest.mark.parametrize("kind", [trim.PACKAGES, trim.STANDARD_LIBRARY])
def test_every_removal_removes_something_and_says_why(kind: str) -> None:
    compiled = "six/__pycache__/six.cpython-311.pyc"  # which pip lists where it was the one that compiled
    names = [*names_of(kind), "site-packages/", compiled]
    for each in trim.TRIMS[kind]:
        assert len(each.since) > 10
        assert any(re.search(each.pattern, name) for name in names), each.pattern


def test_nothing_of_what_is_left_out_is_in_the_files_of_an_image() -> None:
    site = [entry.name.removeprefix("opt/0711/site/") for entry in runtime.package_files(runtime.distributions())]
    assert site
    assert not [name for name in site if trim.left_out(trim.PACKAGES, name)]
    assert {"lancedb/__init__.py", "numpy/__init__.py", "openvino/__init__.py"} <= set(site)
    library = {entry.name for entry in base.base_files()}
    # Arrow imports pydoc, and that from Python 3.13 on `_pyrepl`, which has a readline of its own
    library = [name for name in library if "/_pyrepl/" not in name]
    assert not [name for name in library if "krb5" in name or "/test/" in name or "readline" in name]


def test_packages_that_are_not_reached_are_required_by_one_that_is_there() -> None:
    there = {each.metadata["Name"].lower() for each in runtime.distributions()}
    required = {
        re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9_.-]", line)[0]).lower()
        for each in runtime.distributions()
        for line in metadata.distribution(each.metadata["Name"]).requires or []
    }
    assert there.isdisjoint(trim.NOT_REACHED)
    assert required >= trim.NOT_REACHED.keys()


@pytest.mark.slow
def test_an_image_without_data_and_model_stays_below_its_limit(layer_cache: Path) -> None:
    layers = prepared_layers(layer_cache, None, base.architecture())
    assert sum(layer.content_size for layer in layers) <= LIMIT_MB * MEGABYTE

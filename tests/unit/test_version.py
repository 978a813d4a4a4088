"""The release that servers and clients name to each other."""

from __future__ import annotations

import tomllib

from shared.version import VERSION
from tests.conftest import ROOT


def test_it_is_the_release_of_the_distribution() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION

"""The way back to an earlier version: in the instance where it can, else by the archive's image, whatever the instance
does. The container engine and the archive's files are others' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from servers.cradle import delivery, deployment
from shared.errors import PlatformError, Unavailable
from shared.settings import Settings

WANTED = SimpleNamespace(fingerprint="f1", dataset_digest="d1")


class Deployments:
    """One instance that serves; notes what it is asked for."""

    def __init__(self, fingerprint: str, versions: list[str] | PlatformError) -> None:
        self.fingerprint, self.there = fingerprint, versions
        self.done: list[str] = []

    async def serving(self, customer: str, host: str) -> list[Any]:
        return [SimpleNamespace(host=host, fingerprint=self.fingerprint)]

    async def versions(self, customer: str, row: Any) -> Any:
        self.done.append("asked")
        if isinstance(self.there, PlatformError):
            raise self.there
        return SimpleNamespace(versions=[SimpleNamespace(dataset_digest=each) for each in self.there])

    async def switch(self, *_: Any) -> None:
        self.done.append("switched")

    async def deploy(self, *_: Any, aside: bool = False) -> None:
        self.done.append("image, changes aside" if aside else "image")


@pytest.fixture(autouse=True)
def archived(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive has the version that is wanted."""

    async def archive_of(_: Any) -> Any:
        return SimpleNamespace(record=lambda customer, tag: WANTED)

    @asynccontextmanager
    async def restored(*_: Any) -> AsyncIterator[None]:
        yield

    async def opened(*_: Any) -> None:
        return None

    monkeypatch.setattr(delivery, "archive_of", archive_of)
    monkeypatch.setattr(deployment, "_image", restored)
    monkeypatch.setattr(deployment.CustomerStore, "open", opened)


async def rolled_back(settings: Settings, fingerprint: str, versions: list[str] | PlatformError) -> list[str]:
    there = Deployments(fingerprint, versions)
    held: Any = SimpleNamespace(deployments=there, settings=settings)
    await deployment.roll_back(held, "acme", "p1-one", "local")
    return there.done


@pytest.mark.requirement("O-06")
async def test_an_instance_that_does_not_answer_is_rolled_back_by_the_archives_image(tmp_path: Any) -> None:
    settings, silent = Settings(home=tmp_path), Unavailable("The instance does not answer.")
    assert await rolled_back(settings, "f1", silent) == ["asked", "image, changes aside"]
    assert await rolled_back(settings, "f2", silent) == ["image, changes aside"]  # of other parameters: need not answer


async def test_a_version_that_the_instance_has_is_switched_to(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    assert await rolled_back(settings, "f1", ["d0", "d1"]) == ["asked", "switched"]
    assert await rolled_back(settings, "f1", ["d0"]) == ["asked", "image, changes aside"]

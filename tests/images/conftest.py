"""Fixtures of the image tests: images of a small customer, and the container engine of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from servers.cradle.images.engine import reachable
from tests.registry_rig import registry

__all__ = ["compose", "engine_host", "registry"]


@pytest.fixture(scope="session")
def engine_host() -> str:
    """The engine's address; skips where none answers."""
    host = os.environ.get("DOCKER_HOST")
    if not host:
        pytest.skip("no container engine: DOCKER_HOST is not set (.ci/engine starts one)")
    if not reachable(host):
        pytest.skip("no container engine answers at DOCKER_HOST")
    return host


@pytest.fixture(scope="session")
def compose(engine_host: str) -> str:
    """The engine's address, where the docker command line has compose; skips where it has not."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker command line or its compose plugin is not installed")
    return engine_host

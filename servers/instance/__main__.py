"""`python -m servers.instance`: what the image runs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.addresses import HTTP, is_address, is_host
from shared.errors import InvalidInput, PlatformError
from shared.loading import loading

if TYPE_CHECKING:
    from servers.instance.app import Platform
    from shared.dataset.bolt import GraphServer


def graph_server() -> GraphServer | None:
    """The Neo4j that NEO4J_URL names; None: the embedded graph.

    Raises:
        InvalidInput: the address is none, or the password is missing.
    """
    from shared.dataset.bolt import GraphServer

    env = os.environ.get
    if not (url := env("NEO4J_URL")):
        return None
    password, file = env("NEO4J_PASSWORD"), env("NEO4J_PASSWORD_FILE")
    try:
        password = Path(file).read_text().strip() if file else password
    except (OSError, ValueError):
        raise InvalidInput("NEO4J_PASSWORD_FILE cannot be read. Give the container's user the right to.") from None
    if not password:
        raise InvalidInput("NEO4J_URL needs a password: set NEO4J_PASSWORD_FILE or NEO4J_PASSWORD.")
    return GraphServer(url, env("NEO4J_USER") or "neo4j", password, env("NEO4J_DATABASE") or "neo4j")


def query_deadline() -> float:
    """Seconds that one query may take: INSTANCE_QUERY_DEADLINE_S, for machines that need more than the 10 they have.

    Raises:
        InvalidInput: it is no number from 10 to 600.
    """
    return float(_number("INSTANCE_QUERY_DEADLINE_S", 10, 10, 600))


def _number(name: str, default: int, least: int, most: int) -> int:
    given = os.environ.get(name) or str(default)
    if not given.isascii() or not given.isdigit() or not least <= int(given) <= most:
        raise InvalidInput(f"{name} is no whole number from {least} to {most}.")
    return int(given)


def listens_on() -> tuple[str, int]:
    """INSTANCE_HOST and INSTANCE_PORT.

    Raises:
        InvalidInput: one of them is none; names it.
    """
    host = os.environ.get("INSTANCE_HOST") or "0.0.0.0"  # noqa: S104
    if not is_host(host):
        raise InvalidInput("INSTANCE_HOST is no IP address and no host's name.")
    return host, _number("INSTANCE_PORT", 9312, 1, 65535)


def platform_of() -> Platform | None:
    """Whose tokens are taken: those of INSTANCE_ISSUER for INSTANCE_RESOURCE; None: nobody's.

    Raises:
        InvalidInput: one of them is no address; names it.
    """
    from servers.instance.app import Platform

    env = os.environ.get
    issuer, resource = env("INSTANCE_ISSUER"), env("INSTANCE_RESOURCE")
    if not (issuer and resource):
        return None
    for name, address in (("INSTANCE_ISSUER", issuer), ("INSTANCE_RESOURCE", resource)):
        if not is_address(address, HTTP):
            raise InvalidInput(f"{name} is no address: it is written https://HOST or http://HOST:PORT.")
    return Platform(issuer, resource, env("INSTANCE_KEYS"))


def run() -> None:
    """Reads arguments and environment and serves; an error ends as one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m servers.instance", description=__doc__)
    parser.add_argument("--dataset", type=Path, default=Path("/data"))
    parser.add_argument("--model", type=Path, default=Path("/model"))
    parser.add_argument("--config", type=Path, default=Path("/app/instance.json"))
    given = parser.parse_args()
    loading()
    from servers.instance.app import Place, main
    from shared.serving import run_loop
    from shared.settings import load
    from shared.signatures import Verifier

    env = os.environ.get
    try:
        host, port = listens_on()
        settings = load(host=host, instance_port=port)
        state, key = env("INSTANCE_STATE"), env("INSTANCE_SIGNER")
        place = Place(given.dataset, given.model, given.config, Path(state) if state else None)
        signer = Verifier.of_text(key) if key else None
        run_loop(
            main(settings, place, env("INSTANCE_ACCESS_KEY"), platform_of(), signer, graph_server(), query_deadline())
        )
    except PlatformError as error:
        sys.stderr.write(f"instance: {error.message}\n")
        sys.exit(2)


if __name__ == "__main__":
    run()

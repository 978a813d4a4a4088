"""`python -m servers.instance`: what the image runs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import InvalidInput, PlatformError
from shared.loading import loading

if TYPE_CHECKING:
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
    given = os.environ.get("INSTANCE_QUERY_DEADLINE_S") or "10"
    if not given.isascii() or not given.isdigit() or not 10 <= int(given) <= 600:
        raise InvalidInput("INSTANCE_QUERY_DEADLINE_S is no whole number from 10 to 600.")
    return float(given)


def run() -> None:
    """Reads arguments and environment and serves; an error ends as one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m servers.instance", description=__doc__)
    parser.add_argument("--dataset", type=Path, default=Path("/data"))
    parser.add_argument("--model", type=Path, default=Path("/model"))
    parser.add_argument("--config", type=Path, default=Path("/app/instance.json"))
    given = parser.parse_args()
    loading()
    from servers.instance.app import Place, Platform, main
    from shared.serving import run_loop
    from shared.settings import load
    from shared.signatures import Verifier

    env = os.environ.get
    try:
        settings = load(host=env("INSTANCE_HOST", "0.0.0.0"), instance_port=int(env("INSTANCE_PORT", "9312")))  # noqa: S104
        state, key = env("INSTANCE_STATE"), env("INSTANCE_SIGNER")
        place = Place(given.dataset, given.model, given.config, Path(state) if state else None)
        issuer, resource = env("INSTANCE_ISSUER"), env("INSTANCE_RESOURCE")
        platform = Platform(issuer, resource, env("INSTANCE_KEYS")) if issuer and resource else None
        signer = Verifier.of_text(key) if key else None
        run_loop(main(settings, place, env("INSTANCE_ACCESS_KEY"), platform, signer, graph_server(), query_deadline()))
    except PlatformError as error:
        sys.stderr.write(f"instance: {error.message}\n")
        sys.exit(2)


if __name__ == "__main__":
    run()

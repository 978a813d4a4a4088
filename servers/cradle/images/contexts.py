"""Docker contexts by name, as `docker context create` writes them: where an engine is, and with which certificates.

Read here and not by the SDK, which finds contexts only where there is a `config.json` beside them.
Layout: https://docs.docker.com/engine/manage-resources/contexts/
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

from shared.errors import InvalidInput

PREFIX = "context:"


def of_context(address: str) -> tuple[str, Any]:
    """An engine's address and its TLS settings; `context:NAME` is looked up, any other address stays as it is.

    Raises:
        InvalidInput: there is no such context, or it leads over ssh.
    """
    if not address.startswith(PREFIX):
        return address, False
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "contexts"
    key = hashlib.sha256(address.removeprefix(PREFIX).encode()).hexdigest()
    try:
        endpoint = orjson.loads((folder / "meta" / key / "meta.json").read_bytes())["Endpoints"]["docker"]
        host = str(endpoint["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidInput("There is no such docker context. `docker context ls` lists them.", field="host") from None
    if host.startswith("ssh:"):
        raise InvalidInput("A docker context over ssh cannot be used. Make one with a tcp:// address and TLS.")
    return host, _tls(folder / "tls" / key / "docker", verify=not endpoint.get("SkipTLSVerify", False))


def _tls(folder: Path, *, verify: bool) -> Any:
    if not (folder / "cert.pem").is_file():
        return False
    from docker.tls import TLSConfig

    ca = folder / "ca.pem"
    pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
    return TLSConfig(client_cert=pair, ca_cert=str(ca) if ca.is_file() else None, verify=verify)

"""Addresses that an operator sets: what can be none is refused when it is read, by its setting's name, and not by the
first call that needs it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

HTTP = ("http", "https")
_NAME = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)


def is_address(text: str, schemes: tuple[str, ...], *, local: bool = False) -> bool:
    """Whether it is `SCHEME://HOST` with one of these schemes, a port or none, and anything after it.

    Args:
        local: HOST may be missing, as where a socket is named, or be several that commas part.
    """
    try:
        parts = urlsplit(text)
        hosts = parts.netloc.rpartition("@")[2].split(",") if local else [parts.netloc]
        each = [urlsplit(f"//{host}") for host in hosts]
        ports = all(one.port is None or one.port > 0 for one in each)
        named = all(is_host(one.hostname or "") or (local and not one.netloc) for one in each)
    except ValueError:  # a bracket that is left open, a port that is none
        return False
    return ports and named and parts.scheme in schemes and not re.search(r"[\s\x00-\x1f]", text)


def is_host(text: str) -> bool:
    """Whether it is an IP address or can be a host's name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(_ascii(text)) is not None and len(text) <= 253
    return True


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return ""


def _http(text: str) -> str:
    if not is_address(text, HTTP):
        raise ValueError("it is written https://HOST or http://HOST:PORT")
    return text


def _engine(text: str) -> str:
    if text.startswith("context:") or (text.startswith("unix://") and len(text) > len("unix://")):
        return text
    if not is_address(text, ("tcp", *HTTP)):
        raise ValueError("it is written unix:///PATH, tcp://HOST:PORT or context:NAME")
    return text


def _postgres(url: SecretStr) -> SecretStr:
    if not is_address(url.get_secret_value(), ("postgresql", "postgres"), local=True):
        raise ValueError("it is written postgresql://USER:PASSWORD@HOST:PORT/NAME")
    return url


def _redis(url: SecretStr) -> SecretStr:
    if not is_address(url.get_secret_value(), ("redis", "rediss")):
        raise ValueError("it is written redis://HOST:6379/0 or rediss://HOST:6379/0")
    return url


def _host(text: str) -> str:
    if not is_host(text):
        raise ValueError("it is an IP address or a host's name")
    return text


def _host_and_port(text: str) -> str:
    if not (is_address(f"tcp://{text}", ("tcp",)) and re.search(r"^[^/]+:[0-9]+$", text)):
        raise ValueError("it is written HOST:PORT")
    return text


HttpAddress = Annotated[str, AfterValidator(_http)]
EngineAddress = Annotated[str, AfterValidator(_engine)]
PostgresAddress = Annotated[SecretStr, AfterValidator(_postgres)]
RedisAddress = Annotated[SecretStr, AfterValidator(_redis)]
Host = Annotated[str, AfterValidator(_host)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]

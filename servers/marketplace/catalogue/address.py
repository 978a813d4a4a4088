"""Which addresses the marketplace may connect to. Only services and administrators register them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from shared.errors import InvalidInput

MAX_URL = 500
HOST = re.compile(r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
"""Addresses of cloud metadata services that are not link-local."""


def check_address(url: str) -> str:
    """The address of an MCP endpoint, unchanged, where it may be registered.

    Loopback and private hosts are allowed: instances run there. Link-local addresses (cloud metadata), multicast and
    unspecified ones never are.

    Raises:
        InvalidInput: it is no plain http(s) address, or leads to a forbidden host.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    written = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL
    if not (parts.scheme in {"http", "https"} and written and plain and _host_allowed(host) and port != 0):
        raise InvalidInput("An address looks like https://host:port/mcp and names an allowed host.", field="url")
    return url


def ip_allowed(address: str) -> bool:
    """Whether a resolved address may be connected to."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return not (ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in METADATA)


def _host_allowed(host: str) -> bool:
    try:
        return ip_allowed(host)
    except ValueError:
        # A name: its addresses are checked when it is connected to. Digits alone would be an address in disguise.
        last = host.rsplit(".", 1)[-1]
        return HOST.match(host) is not None and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)

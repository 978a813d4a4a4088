"""Which addresses the marketplace may connect to: what a URL says, and what its name resolves to when it is used."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from shared.addresses import is_host
from shared.errors import InvalidInput

MAX_URL = 500
HOST = re.compile(r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
"""Addresses of cloud metadata services that are not link-local."""
NAT64 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
"""RFC 6052, 8215, 7915."""
UNICAST = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that IANA gives out; Python takes the rest for global too, such as 5f00::/16 (RFC 9602)."""
NOT_GLOBAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "3fff::/20", "64:ff9b:1::/48")))
"""Not to be reached from everywhere by IANA's registries of special addresses, whatever the Python knows of them: RFC
6890, 9637, and 8215, a network's own NAT64, in which it alone knows where an IPv4 address stands."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_address(url: str, *, inside: bool) -> str:
    """The address of an MCP endpoint, unchanged, where it may be registered.

    Link-local addresses (cloud metadata), multicast and unspecified ones never are.

    Args:
        inside: loopback and private hosts are allowed, and http, because the operator or a service of the platform
            registers it.

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
    allowed = _host_allowed(host, inside=inside)
    schemes = {"http", "https"} if inside else {"https"}
    if not (parts.scheme in schemes and written and plain and allowed and port != 0):
        outside = "" if inside else "; only the operator gives one with http, or of a private host"
        raise InvalidInput(
            f"An address looks like https://host:port/mcp and names an allowed host{outside}.", field="url"
        )
    return url


def ip_allowed(address: str, *, inside: bool) -> bool:
    """Whether a resolved address may be connected to; an IPv4 address inside an IPv6 one is looked at itself."""
    ip: Address = ipaddress.ip_address(address.split("%", 1)[0])
    inner = _inner(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    if inner is not None:
        return ip_allowed(str(inner), inside=inside) and (inside or not _within(ip, NOT_GLOBAL))
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in METADATA:
        return False
    given_out = ip.version == 4 or ip in UNICAST
    return inside or (ip.is_global and given_out and not _within(ip, NOT_GLOBAL))


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a mapped, compatible, 6to4 or NAT64 address leads to."""
    if _within(ip, NAT64) or (int(ip) >> 32 == 0 and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _within(ip: Address, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(ip in network for network in networks)


def _host_allowed(host: str, *, inside: bool) -> bool:
    try:
        return ip_allowed(host, inside=inside)
    except ValueError:
        # A name: its addresses are checked when it is connected to. Digits alone would be an address in disguise.
        last = host.rsplit(".", 1)[-1]
        named = HOST.fullmatch(host) is not None and is_host(host) and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)
        return named and (inside or not (last == "localhost" or "." not in host))

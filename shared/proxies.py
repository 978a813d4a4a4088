"""The machine's proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) and what goes through them.

Object stores, hosted vision models, registries of images and downloads of models do. Servers of the platform and
instances never do, and neither do upstreams of the gateway, whose addresses it checks itself: their clients read none
of these variables. Whatever is on this machine is asked without one.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import urllib3

HERE = ("localhost", "127.0.0.1", "::1")
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def spare_this_machine(environment: MutableMapping[str, str]) -> None:
    """Name this machine in NO_PROXY, in both spellings, where there is a proxy: no client spares it by itself."""
    if not any(environment.get(name) or environment.get(name.lower()) for name in VARIABLES):
        return
    told = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    spared = list(dict.fromkeys(each.strip() for each in told.split(",") if each.strip()))
    if "*" not in spared:
        spared += [each for each in HERE if each not in spared]
        environment["no_proxy"] = environment["NO_PROXY"] = ",".join(spared)


def pool(address: str, **options: Any) -> urllib3.PoolManager:
    """urllib3's pool for an address, through the machine's proxy where there is one: it reads no variable itself."""
    from urllib.request import getproxies, proxy_bypass

    import urllib3

    parts, proxies = urlsplit(address), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return urllib3.PoolManager(**options)
    named = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    secret = f"{unquote(named.username)}:{unquote(named.password or '')}" if named.username else None
    headers = urllib3.make_headers(proxy_basic_auth=secret) if secret else None
    return urllib3.ProxyManager(f"{named.scheme}://{named.netloc.rpartition('@')[2]}", proxy_headers=headers, **options)

"""Mirroring another registry: its servers become proposals here. Nothing of it can be called before a review.

What is read is the official registry's API (`GET /v0.1/servers`). A server that has changed there is proposed anew; one
that was deleted there is suspended here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import orjson

from servers.marketplace.catalogue.address import check_address
from servers.marketplace.catalogue.catalogue import RESERVED, SERVER_NAME
from servers.marketplace.catalogue.store import EVERYTHING, CatalogueStore, Entry
from servers.marketplace.runners.package import VERSION, Package, package_of
from servers.marketplace.unseen import without_unseen
from shared.client.stream import read_whole
from shared.errors import InvalidInput, PlatformError, TooLarge, Unavailable
from shared.values import problem_of

if TYPE_CHECKING:
    from servers.marketplace.gateway.client import Client
    from servers.marketplace.gateway.outgoing import Outgoing

OFFICIAL = "io.modelcontextprotocol.registry/official"
PAGE, MAX_PAGES = 100, 10
LARGEST = 8 * 2**20
DEADLINE_S = 20.0


@dataclass(slots=True)
class Imported:
    """What came of it. `skipped`: reason → servers. `next_cursor`: where to go on; None: the registry has ended."""

    proposed: int = 0
    unchanged: int = 0
    suspended: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    next_cursor: str | None = None


class Mirror:
    """Reads registries."""

    def __init__(self, outgoing: Outgoing, store: CatalogueStore) -> None:
        self._outgoing = outgoing
        self._store = store

    async def load(self, url: str, cursor: str | None, updated_since: str | None) -> Imported:
        """Take over up to `MAX_PAGES` pages.

        Args:
            url: the registry's address, without `/v0.1`.

        Raises:
            InvalidInput: the address is not allowed.
            Unavailable: the registry does not answer, or with something else.
        """
        place = check_address(url.rstrip("/") + "/v0.1/servers", inside=True)  # the operator alone may do this
        client = self._outgoing.client(place, operated=True)
        done, author = Imported(next_cursor=cursor), f"mirror:{urlsplit(url).hostname}"
        for _ in range(MAX_PAGES):
            query = {
                "limit": str(PAGE),
                "version": "latest",
                "updated_since": updated_since,
                "cursor": done.next_cursor,
            }
            page = await _page(client, place, {name: value for name, value in query.items() if value})
            for told in page["servers"]:
                await self._take(told, author, done)
            done.next_cursor = _cursor(page)
            if done.next_cursor is None:
                break
        return done

    async def _take(self, told: Any, author: str, done: Imported) -> None:
        entry = _entry(told)
        if isinstance(entry, str):
            done.skipped[entry] += 1
            return
        before = await self._store.by_name(EVERYTHING, entry.server_name)
        if before is not None and before.listing.registered_by != author:
            done.skipped["the name belongs to another entry"] += 1
        elif _deleted(told):
            await self._suspend(before, author, done)
        elif before is not None and _same(before, entry):
            done.unchanged += 1
        else:
            await self._store.put(entry, author)
            done.proposed += 1

    async def _suspend(self, before: Entry | None, author: str, done: Imported) -> None:
        if before is not None and before.approval == "approved":
            await self._store.set_listing(before, "suspended", before.listing, author)
            done.suspended += 1
        else:
            done.skipped["deleted there"] += 1


async def _page(client: Client, place: str, query: Mapping[str, str]) -> dict[str, Any]:
    from servers.marketplace.gateway.outgoing import unreachable

    headers = [("accept", "application/json"), ("accept-encoding", "identity")]
    try:
        async with (
            asyncio.timeout(DEADLINE_S),
            client.request("GET", place, headers, query=urlencode(query)) as response,
        ):
            status, page = response.status, orjson.loads(await read_whole(response, LARGEST))
    except TooLarge:
        raise Unavailable("A page of the registry is too large.") from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise unreachable(error, "registry") from None
    if status != 200 or not isinstance(page, dict) or not isinstance(page.get("servers"), list):
        raise Unavailable("What answers at this address is no registry of MCP servers.")
    return page


def _cursor(page: Mapping[str, Any]) -> str | None:
    metadata = page.get("metadata")
    cursor = metadata.get("nextCursor") if isinstance(metadata, dict) else None
    return cursor if isinstance(cursor, str) and 0 < len(cursor) <= 1000 else None


def _entry(told: Any) -> Entry | str:
    """The entry that a server.json describes, or why there is none."""
    server = told.get("server") if isinstance(told, dict) else None
    if not isinstance(server, dict) or problem_of(server) is not None:
        return "not in the registry's form"
    name, version = server.get("name"), server.get("version")
    if not isinstance(name, str) or not SERVER_NAME.fullmatch(name) or len(name) > 200 or name.startswith(RESERVED):
        return "a name that is not allowed here"
    texts = (server.get("title") or name, server.get("description"), version)
    title, description, version = (without_unseen(text) if isinstance(text, str) else "" for text in texts)
    if not (title and description and version):
        return "not in the registry's form"
    if not VERSION.fullmatch(version):
        return "a version that is not allowed here"
    remotes = server.get("remotes") if isinstance(server.get("remotes"), list) else []
    urls = [
        each.get("url") for each in remotes or [] if isinstance(each, dict) and each.get("type") == "streamable-http"
    ]
    address, package = (urls[0], None) if urls else ("", _package(server))
    try:
        address = check_address(str(address), inside=False) if package is None else package.address(name)
    except PlatformError:
        return "an address that is not allowed" if urls else "no address to call"
    return Entry(
        name, title[:200], description[:2000], version, "external", None, address, "submitted", (),
        operated=False, package=package,
    )  # fmt: skip


def _package(server: Mapping[str, Any]) -> Package | None:
    """The first package that can be run here."""
    told = server.get("packages")
    for each in told if isinstance(told, list) else []:
        with contextlib.suppress(InvalidInput):
            return package_of(each if isinstance(each, dict) else {})
    return None


def _deleted(told: Any) -> bool:
    meta = told.get("_meta")
    official = meta.get(OFFICIAL) if isinstance(meta, dict) else None
    return isinstance(official, dict) and official.get("status") == "deleted"


def _same(before: Entry, entry: Entry) -> bool:
    def told(each: Entry) -> tuple[str, str, str, str | None]:
        return each.title, each.description, each.version, each.url

    return told(before) == told(entry)

"""`0711 status`: what of the platform answers just now, and what to look at where something does not."""

from __future__ import annotations

import asyncio
import shutil

import orjson

from servers.local.children import DEPENDENCY, last_words, unwell
from servers.local.connect import starting
from servers.local.lock import holder
from servers.local.platform import SERVERS
from shared.settings import PREFIX, ServerName, Settings

PATIENCE_S = 5.0
AWAY, ANOTHER = "DOES NOT ANSWER", "IS ANOTHER PROGRAM"


async def status(settings: Settings) -> tuple[list[str], bool]:
    """A line for each part and, where one is not healthy, what its log said last; whether all are healthy."""
    process = holder(settings.home)
    if process is None:
        return [f"{'platform':<14} does not run in {settings.home}. Start it: {starting(settings)}"], False
    told = dict(zip(SERVERS, await asyncio.gather(*(_state(settings, name) for name in SERVERS)), strict=True))
    states = {name: state for name, (state, _) in told.items()}
    free = shutil.disk_usage(settings.home).free
    lines = [f"{'platform':<14} process {process}, {settings.home}, {free / 1e9:.1f} GB free"]
    lines += [
        f"{name:<14} {_address(settings, name)} {state or 'healthy'}{more}" for name, (state, more) in told.items()
    ]
    for name in (name for name, state in states.items() if state):
        log = settings.home / "logs" / f"{name}.log"
        lines.append(f"{'':<14} {log} ends: {last_words(log)}")
    if all(state in {AWAY, ANOTHER} for state in states.values()):
        lines.append(f"{'':<14} Call this with the {PREFIX}… settings that `0711 up` was called with.")
    return lines, not any(states.values())


async def _state(settings: Settings, name: ServerName) -> tuple[str, str]:
    """What is wrong with a server, nothing where it is healthy; and how many of its workers serve, if it has them."""
    import httpx2

    try:
        async with httpx2.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
            answer = await client.get(_address(settings, name) + "/health")
        told = orjson.loads(answer.content)
        if answer.status_code != 200:
            return f"UNHEALTHY: {unwell(told) or 'it does not say why'}", ""
        less = unwell({DEPENDENCY: told.get(DEPENDENCY, {})})
        more = f", {workers['serving']} of {workers['wanted']} workers" if (workers := told.get("workers")) else ""
    except httpx2.HTTPError:
        return AWAY, ""
    except (ValueError, TypeError, AttributeError, KeyError):
        return ANOTHER, ""
    return (f"serves, but {less}", "") if less else ("", more)


def _address(settings: Settings, name: ServerName) -> str:
    return settings.here(settings.port(name))

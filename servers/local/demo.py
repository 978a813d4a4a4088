"""`0711 demo`: one customer from files to a verified image that answers questions, seen from outside over MCP."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from servers.cradle.processing.sources import EXAMPLE
from servers.cradle.workplace import workplace
from servers.local.agent import Agent
from servers.local.connect import claude_code_line, command_line
from servers.local.display import Display
from servers.local.platform import running
from shared.contracts.instance import SearchAnswer
from shared.contracts.job import FINAL_STATES, JobHandle, JobView
from shared.errors import InvalidInput, PlatformError
from shared.objects import CustomerStore
from shared.settings import Settings

POLL_S = 0.4
PORTS = ("orchestrator", "marketplace", "embedding", "vision", "cradle", "postgres")


@dataclass(frozen=True)
class Order:
    """What to onboard and what to ask. `expected` holds the words that an answer must hold, where they are known."""

    company: str
    sources: list[Path]
    questions: list[tuple[str, tuple[str, ...]]]


async def demo(settings: Settings, paths: list[Path], company: str | None, questions: list[str]) -> None:
    """Runs the whole main job and prints what came of it.

    Raises:
        PlatformError: a step failed; the message says which and what to do.
    """
    started = time.perf_counter()
    order = _order(settings, paths, company, questions)
    roots = [*settings.source_roots, *(path if path.is_dir() else path.parent for path in order.sources)]
    settings = settings.model_copy(update={"source_roots": roots, **_free_ports(settings)})
    settings = Settings.model_validate(settings.model_dump(exclude_unset=True) | {"source_roots": roots})
    display = Display()
    display.heading(f"Starting the platform in {settings.home}")
    async with running(settings, display.line), Agent(settings) as agent:
        display.heading(f"Onboarding {order.company}")
        view = await _onboard(agent, order, display)
        display.summary(view)
        open_questions = await _ask(settings, view, order, display)
    home = str(settings.home)
    display.heading("Connect an agent to this platform")
    folders = [word for root in roots for word in ("--source-root", str(root))]
    display.line(f"start it again:  {command_line('up', '--home', home, *folders)}")
    display.line(f"Claude Code:     {claude_code_line(settings)}")
    display.line(f"other clients:   {command_line('connect', '--home', home, '--write')}")
    if open_questions:
        raise PlatformError(
            f"The image is built, but {open_questions} of the {len(order.questions)} questions found no answer."
        )
    display.heading(f"Done in {time.perf_counter() - started:.1f} s")


def _order(settings: Settings, paths: list[Path], company: str | None, questions: list[str]) -> Order:
    if paths:
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise InvalidInput(f"There is no file or folder {missing[0]}.")
        if not company:
            raise InvalidInput("Say whose files these are: --company 'Name GmbH'.")
        return Order(company, [path.resolve() for path in paths], [(text, ()) for text in questions])
    from examples.corpus import write
    from examples.corpus.catalogue import COMPANY
    from examples.corpus.questions import QUESTIONS

    folder = settings.home / EXAMPLE
    shutil.rmtree(folder, ignore_errors=True)
    write(folder)
    asked = [(text, ()) for text in questions] or [(each.text, each.expected) for each in QUESTIONS]
    return Order(company or COMPANY, [folder.resolve()], asked)


def _free_ports(settings: Settings) -> dict[str, int]:
    """Another free port for each default port that something else listens on; ports that were set stay."""
    chosen = {}
    for name in PORTS:
        key = f"{name}_port"
        if key not in settings.model_fields_set and _busy(settings.host, getattr(settings, key)):
            with _socket(settings.host) as probe:
                probe.bind((settings.host, 0))
                chosen[key] = probe.getsockname()[1]
    return chosen


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _busy(host: str, port: int) -> bool:
    with _socket(host) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


async def _onboard(agent: Agent, order: Order, display: Display) -> JobView:
    arguments = {
        "company_name": order.company,
        "contact_email": "operator@example.com",
        "data_sources": [path.as_uri() for path in order.sources],
    }
    handle = await agent.orchestrator("initialize_customer", arguments, JobHandle)
    with display.job(handle) as show:
        while True:
            view = await agent.orchestrator("get_job", {"job_id": handle.job_id}, JobView)
            show(view)
            if view.state in FINAL_STATES:
                break
            await asyncio.sleep(POLL_S)
    if view.state != "completed":
        error = view.error or {}
        raise PlatformError(f"The job {view.state}: {error.get('message', 'no reason was given')}")
    return view


@asynccontextmanager
async def _image(settings: Settings, view: JobView) -> AsyncIterator[tuple[Path, Path]]:
    """The finished image as a file, and a folder for scratch: the bucket's own, or of one on S3 a copy of it."""
    assert view.result is not None  # noqa: S101  a completed job has one
    store = await CustomerStore.open(settings, view.customer_id)
    key = view.result.places["image"].removeprefix(store.path() + "/")
    async with workplace(settings, view.customer_id, store, key) as place:
        yield place.folder / key, place.scratch


async def _ask(settings: Settings, view: JobView, order: Order, display: Display) -> int:
    """Asks the questions; how many of those whose answer is known were not answered."""
    if not order.questions:
        return 0
    from servers.cradle.images.running import running_instance
    from shared.client import StaticKey, Upstream

    async with (
        _image(settings, view) as (image, scratch),
        running_instance(image, scratch, docker_host=settings.docker_host) as instance,
    ):
        display.heading(f"Asking the image ({instance.how})")
        async with Upstream(instance.url, StaticKey(instance.access_key)) as upstream:
            missed = 0
            for text, expected in order.questions:
                answer = await upstream.call("search", {"query": text, "limit": 5}, SearchAnswer)
                missed += not display.answer(text, answer, expected)
    return missed

"""What remote providers' refusals mean: whose fault it was, and for how long to wait."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from servers.cradle.vision.failures import TurnedAway
from shared.contracts.vision import VisionAttempt
from shared.errors import InvalidInput, Overloaded, PlatformError, TooLarge, Unavailable
from tests.vision_rig import REMOTE, Reply, VisionServer, asking, fails, one_server, service_at  # noqa: F401

EMPTY = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
REACHED = "You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC."
SCHEMA = "Invalid schema: property 'billing_address' or 'payment' of CANARY."


def wrong(message: str) -> Reply:
    """Status 400 in Anthropic's words; those of the others are alike."""
    error = {"type": "invalid_request_error", "message": message}
    return fails(400, json.dumps({"type": "error", "error": error}).encode())


async def failure(server: VisionServer, name: str) -> PlatformError:
    service = service_at(server.url, call_deadline_s=60)
    with pytest.raises(PlatformError) as failed:
        await service.read(asking(name))
    await service.close()
    return failed.value


@pytest.mark.requirement("F-07")
@pytest.mark.parametrize("message", [EMPTY, REACHED])
async def test_where_an_account_is_empty_the_next_provider_reads(server: VisionServer, message: str) -> None:
    server.by_path = {"/messages": wrong(message)}
    service = service_at(server.url, vision_fallback=["compatible"], call_deadline_s=60)
    result = await service.read(asking("anthropic"))
    assert result.provider == "compatible"
    assert result.attempts == [VisionAttempt(page=1, provider="anthropic", code="unavailable")]
    await service.close()


@pytest.mark.parametrize("name", REMOTE)
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (wrong(EMPTY), TurnedAway),
        (fails(402), TurnedAway),
        (wrong(SCHEMA), InvalidInput),
        (fails(422), InvalidInput),
        (fails(413), TooLarge),
    ],
)
async def test_a_refusal_is_the_accounts_or_the_images(
    server: VisionServer, name: str, reply: Reply, kind: type[PlatformError]
) -> None:
    server.reply = reply
    error = await failure(server, name)
    assert type(error) is kind
    assert "credit" in error.message if kind is TurnedAway else error.field == "image_base64"
    assert "CANARY" not in str(error)


@pytest.mark.parametrize("name", REMOTE)
@pytest.mark.parametrize("status", [503, 529])
async def test_a_provider_that_is_too_busy_says_for_how_long(server: VisionServer, name: str, status: int) -> None:
    server.reply = fails(status, retry_after="7")
    error = await failure(server, name)
    assert (type(error), error.retry_after) == (Unavailable, 7)
    server.reply = fails(status)
    assert (await failure(server, name)).retry_after is None


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7.5", 7.5), ("0", 0), ("86400", 600), ("", 30), ("soon", 30), ("-1", 30), ("nan", 30), ("1e3", 30)],
)
async def test_the_wait_that_a_provider_asks_for_is_told(server: VisionServer, asked: str, seconds: float) -> None:
    server.reply = fails(429, retry_after=asked)
    error = await failure(server, "anthropic")
    assert (type(error), error.retry_after) == (Overloaded, seconds)


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
@pytest.mark.parametrize(("ahead", "least", "most"), [(120, 60, 120), (86400, 600, 600), (-60, 1, 1)])
async def test_a_date_until_which_a_provider_asks_to_wait_is_told(
    server: VisionServer, ahead: float, least: float, most: float, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    server.reply = fails(429, retry_after=formatdate(time.time() + ahead, usegmt=True).replace("GMT", zone))
    waits = (await failure(server, "anthropic")).retry_after
    monkeypatch.undo()
    time.tzset()
    assert waits is not None
    assert least <= waits <= most

"""Units of answers, the spool on a disk, and statements."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import astuple
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from servers.marketplace.metering.prices import PriceList, share, statement
from servers.marketplace.metering.units import computed_units, month_days
from shared.errors import InvalidInput, StorageFull
from shared.metering import meter
from shared.metering.meter import Meter
from shared.metering.spool import Spool
from shared.metering.units import Key, Units
from tests.conftest import ROOT
from tests.serving_rig import HANGS_S

SAY = Key("acme", date(2026, 11, 26), "io.0711.acme/instance", "say")
SEED = PriceList({}, Decimal(500), Decimal(500))
TEN = [f"c{number}" for number in range(10)]


def answer(structured: object) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "structuredContent": structured}})


def test_tokens_and_pages_are_read_from_an_answer_or_from_its_events() -> None:
    assert computed_units(answer({"tokens": 12, "data": "x"})) == Units(tokens=12)
    assert computed_units(answer({"pages": [{"page": 1}, {"page": 2}]})) == Units(pages=2)
    assert computed_units(b"event: message\r\ndata: " + answer({"tokens": 5}) + b"\r\n\r\n") == Units(tokens=5)
    for wrong in (answer({"tokens": -1}), answer({"tokens": True}), answer({"tokens": 1e9}), answer([]), b"", b"\xff"):
        assert computed_units(wrong) == Units()


def test_what_is_in_the_spool_of_a_killed_process_is_taken_over_and_a_cut_line_is_not(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from datetime import date
from shared.metering.spool import Spool
from shared.metering.units import Key, Units
spool = Spool(pathlib.Path({str(tmp_path)!r}))
for _ in range(1000):
    spool.append(Key(*{(SAY.customer,)!r}, date(2026, 11, 26), {SAY.server!r}, "say"), Units(calls=1, bytes=7))
print("written", flush=True)
os.read(0, 1)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        assert list(Spool(tmp_path).batches()) == []  # its owner lives
        process.send_signal(signal.SIGKILL)
        process.wait()
    (left,) = tmp_path.glob("*.open")
    with left.open("ab") as file:
        file.write(b'["acme","2026-11-26","io.0711.acme/inst')
    (batch,) = Spool(tmp_path).batches()
    assert batch.sums() == {SAY: Units(calls=1000, bytes=7000)}
    batch.remove()
    assert list(Spool(tmp_path).batches()) == []


def test_each_amount_comes_back_from_the_spool_as_what_it_was(tmp_path: Path) -> None:
    spool, units = Spool(tmp_path), Units(calls=1, tokens=2, pages=3, bytes=4, failures=5)
    spool.append(SAY, units)
    spool.detach()()
    assert [batch.sums() for batch in spool.batches()] == [{SAY: units}]
    assert units.amounts == astuple(units)


def test_a_spool_that_cannot_be_written_refuses_what_would_not_be_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(SAY, Units(calls=1))
    spool.detach()()
    if os.geteuid() != 0:
        (tmp_path / "spool").chmod(0o500)
    else:
        (tmp_path / "elsewhere").write_bytes(b"")
        spool = Spool(tmp_path / "elsewhere")  # a file where the folder should be
    with pytest.raises(StorageFull):
        spool.append(SAY, Units(calls=1))


async def test_whatever_goes_wrong_in_a_round_of_the_meter_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "FLUSH_S", 0.0)
    added: asyncio.Queue[dict[Key, Units]] = asyncio.Queue()

    class Failing:
        asked = 0

        async def add(self, batch_id: str, sums: Any) -> None:
            self.asked += 1
            if self.asked == 1:
                raise KeyError("what nobody has thought of")
            added.put_nowait(sums)

    counting = Meter(Spool(tmp_path), Failing())
    counting.served("acme", SAY.server, SAY.tool, Units(calls=7))
    async with counting.in_background():
        assert list((await asyncio.wait_for(added.get(), HANGS_S)).values()) == [Units(calls=7)]


def test_ten_customers_pay_five_hundred_euros_together_where_each_alone_would_pay_as_much() -> None:
    whole = statement(SEED, Units(calls=100), TEN, None)
    assert (whole.own_gpus, whole.gpu, whole.saving, whole.saving_percent) == (5000, 500, 4500, 90)
    own = statement(SEED, Units(calls=10), TEN, "c3")
    assert (own.own_gpus, own.gpu, own.saving, own.total) == (500, 50, 450, 50)
    idle = statement(SEED, Units(), TEN, "other")
    assert (idle.gpu, idle.own_gpus, idle.total, idle.saving_percent) == (0, 0, 0, 0)
    assert statement(SEED, Units(), [], None).total == 0


@pytest.mark.parametrize("customers", [1, 3, 7, 999])
def test_the_shares_of_a_price_add_up_to_it(customers: int) -> None:
    names = [f"c{number}" for number in range(customers)]
    shares = [share(Decimal("500.01"), names, name) for name in names]
    assert sum(shares) == Decimal("500.01")
    assert max(shares) - min(shares) <= Decimal("0.01")


def test_units_are_charged_by_the_price_list_exactly() -> None:
    prices = PriceList({"tokens": Decimal("0.10"), "pages": Decimal("12.50")}, Decimal(0), Decimal(0))
    found = statement(prices, Units(calls=9, tokens=1_450_000, pages=3), ["acme"], "acme")
    assert [(each.unit, each.amount) for each in found.charges] == [
        ("tokens", Decimal("0.15")),
        ("pages", Decimal("0.04")),
    ]
    assert found.total == Decimal("0.19")


def test_a_month_ends_before_the_next_one() -> None:
    assert month_days("2026-12") == (date(2026, 12, 1), date(2027, 1, 1))
    for wrong in ("2026-13", "2026-00", "x"):
        with pytest.raises(InvalidInput):
            month_days(wrong)

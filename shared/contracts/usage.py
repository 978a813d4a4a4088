"""Usage that another server has counted, on its way to the marketplace. Numbers and ids; no content."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.contracts.model import Contract
from shared.ids import CustomerId
from shared.metering.units import LARGEST

BatchId = Annotated[str, StringConstraints(pattern=r"^use_[a-z2-7]{26}$")]
Amount = Annotated[int, Field(ge=0, le=LARGEST)]


class UsageLine(Contract):
    """What one tool of cradle served to one customer on a day (UTC). `bytes` are those of the answers."""

    customer_id: CustomerId
    day: date
    tool: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
    calls: Amount = 0
    tokens: Amount = 0
    pages: Amount = 0
    bytes: Amount = 0


class UsageRecorded(Contract):
    """The units are counted. `added` is False where they had been before; nothing was changed then."""

    added: bool

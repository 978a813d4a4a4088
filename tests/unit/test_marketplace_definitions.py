"""What of a server's list of tools is taken: as much as a person reads, and as much as is held in memory."""

from __future__ import annotations

import pytest

from servers.marketplace.catalogue.definitions import MAX_DEFINITION, MAX_LIST, read_definitions
from shared.errors import Unavailable
from tests.marketplace_rig import definition


def test_a_list_of_tools_is_bounded_as_a_whole_and_tool_by_tool() -> None:
    large = "x" * (MAX_DEFINITION - 200)
    fit = MAX_LIST // MAX_DEFINITION
    assert len(read_definitions(definition(f"tool_{number}", large) for number in range(fit))) == fit
    with pytest.raises(Unavailable):
        read_definitions(definition(f"tool_{number}", large) for number in range(fit + 2))
    with pytest.raises(Unavailable):
        read_definitions([definition("tool", "x" * MAX_DEFINITION)])

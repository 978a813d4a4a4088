"""What an agent is told of the tables fits the tables."""

from __future__ import annotations

import re

from servers.instance.search import ABOUT
from shared.dataset.schemas import ROWS, schema

OF_BMECAT = {"data_sheet", "consists_of", "base_product"}


def test_every_table_is_told_of_by_columns_that_there_are() -> None:
    assert set(ABOUT) == set(ROWS)
    columns = {field.name for name in ROWS for field in schema(name)}
    named = {word for text in ABOUT.values() for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)}
    assert {"product_id", "lower_bound", "valid_from"} <= named
    assert named - OF_BMECAT <= columns

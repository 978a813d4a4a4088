"""What an agent is told of the tables fits the tables, and what is exported from them is BMEcat's."""

from __future__ import annotations

import re

from servers.instance.products.bmecat import purpose_of
from servers.instance.search import ABOUT
from shared.dataset.schemas import ROWS, schema

OF_BMECAT = {"data_sheet", "consists_of", "base_product", "old_stock"}
TOOLS = {"find_products"}


def test_every_table_is_told_of_by_columns_that_there_are() -> None:
    assert set(ABOUT) == set(ROWS)
    columns = {field.name for name in ROWS for field in schema(name)}
    named = {word for text in ABOUT.values() for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)}
    assert {"product_id", "lower_bound", "valid_from"} <= named
    assert named - OF_BMECAT - TOOLS <= columns


def test_an_export_names_purposes_of_media_as_bmecat_does() -> None:
    assert [purpose_of(each) for each in ("MD22", "MD01", "MD14", "thumbnail", "")] == [
        "data_sheet", "normal", "others", "thumbnail", ""
    ]  # fmt: skip

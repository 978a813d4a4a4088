"""Articles as JSON and CSV. The JSON is a list of `ArticleRecord`, whose JSON Schema is the format's definition."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

from pydantic import Field

from servers.instance.products.articles import Article
from servers.instance.products.bmecat import plain
from shared.contracts.model import Contract


class FeatureRecord(Contract):
    """A feature with its values as written."""

    name: str
    feature_id: str
    values: list[str]
    unit: str


class PriceRecord(Contract):
    """A price; `amount` is an exact decimal as text, null where the catalogue names none.

    It is for `quantity` of `unit`, '' where the catalogue tells no quantity; `lower_bound` is a least quantity.
    """

    price_type: str
    amount: str | None = Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")
    quantity: str
    currency: str
    lower_bound: str
    unit: str
    valid_from: str
    valid_to: str


class ArticleRecord(Contract):
    """An article of the catalogue."""

    article_number: str = Field(min_length=1)
    gtin: str
    name: str
    description: str
    manufacturer: str
    manufacturer_article_number: str
    class_system: str
    class_id: str
    order_unit: str
    features: list[FeatureRecord]
    prices: list[PriceRecord]
    media: list[str]


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
COLUMNS = (
    "article_number", "gtin", "name", "description", "manufacturer", "manufacturer_article_number", "class_system",
    "class_id", "order_unit", "price_type", "price", "price_quantity", "price_unit", "currency", "lower_bound",
    "features", "media",
)  # fmt: skip


def record(article: Article) -> ArticleRecord:
    """An article in the form of the JSON export."""
    row = article.product
    return ArticleRecord(
        article_number=row.article_number,
        gtin=row.gtin,
        name=row.name,
        description=row.description,
        manufacturer=row.manufacturer,
        manufacturer_article_number=row.manufacturer_article_number,
        class_system=row.class_system,
        class_id=row.class_id,
        order_unit=row.unit,
        features=_features(article),
        prices=[
            PriceRecord(
                price_type=each.price_type,
                amount=_amount(each.amount),
                quantity=plain(each.quantity),
                currency=each.currency,
                lower_bound=plain(each.lower_bound),
                unit=each.unit,
                valid_from=each.valid_from,
                valid_to=each.valid_to,
            )
            for each in article.prices
        ],
        media=[each.source for each in article.media],
    )


def csv_lines(rows: list[list[str]]) -> bytes:
    """Rows as CSV (RFC 4180), separated by semicolons, as German spreadsheets read it.

    A text that a spreadsheet would take for a formula has ' before it: suppliers' texts must not run.
    """
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def csv_rows(article: Article) -> list[list[str]]:
    """A row for each price of an article, one without a price where it has none."""
    told = record(article)
    features = "; ".join(
        f"{each.name or each.feature_id}: {', '.join(each.values)} {each.unit}".strip() for each in told.features
    )
    head = [str(getattr(told, name)) for name in COLUMNS[:9]]
    tail = [features, " ".join(told.media)]
    prices = [
        [each.price_type, each.amount or "", each.quantity, each.unit, each.currency, each.lower_bound]
        for each in told.prices
    ]
    return [[*head, *price, *tail] for price in prices or [[""] * 6]]


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def _features(article: Article) -> list[FeatureRecord]:
    found: dict[int, FeatureRecord] = {}
    for row in article.features:
        told = found.setdefault(
            row.ordinal, FeatureRecord(name=row.name, feature_id=row.feature_id, values=[], unit=row.unit)
        )
        if row.value or row.value_id:
            told.values.append(row.value or row.value_id)
    return list(found.values())


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)

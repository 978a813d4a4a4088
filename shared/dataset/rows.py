"""The rows of a dataset: what each table holds, and how the ids of its rows are made. Rows hold customer content.

Every row belongs to one document and is superseded together with it. The table of documents is the ledger: one row for
every file that was found, whether it could be read or not.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

DocumentStatus = Literal["processed", "failed"]
ChunkKind = Literal["text", "table", "list", "product", "ocr", "contents"]
MEMBER, DELETED = "member", "deleted"
"""Kinds of relations that are none to another article."""
STATUS = "PRODUCT_STATUS"
"""The `feature_id` of what a catalogue says of an article's state; its `value_id` is BMEcat's type: `old_stock`, …"""

AMOUNT_DIGITS, AMOUNT_SCALE = 24, 6
_DECIMAL_COMMA = re.compile(r"(?!\s*[+-]?[1-9]\d{0,2},\d{3}\s*$)(\s*[+-]?\d+),(\d+\s*)", re.ASCII)  # not 1,234
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_GROUPED = {",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?"), ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")}


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One file of the sources and what became of it. `failure_code` and `failure_reason` are '' where it was read.

    `path` is relative to its source and unique. `sha256` is the file's digest (`sha256:…`). `pages` is 0 where the
    format has none; `ocr_pages` of them were read by OCR. `dated` is when it was made or last changed, as it says
    itself ('' where it does not): ISO 8601, a day or a moment, of one with a time zone in UTC.
    """

    document_id: str
    path: str
    sha256: str
    size: int
    media_type: str
    status: DocumentStatus
    parameter_version: int
    title: str = ""
    language: str = ""
    pages: int = 0
    ocr_pages: int = 0
    failure_code: str = ""
    failure_reason: str = ""
    extractor: str = ""
    extractor_version: str = ""
    chunks: int = 0
    tokens: int = 0
    products: int = 0
    source: str = ""
    dated: str = ""


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A passage. `start` and `end` are character offsets in the document's text, `page` is 1-based and 0 without pages.

    `heading_path` joins the headings above it with ` › `. `product_id` names the product that the passage describes.
    """

    chunk_id: str
    document_id: str
    ordinal: int
    text: str
    parameter_version: int
    page: int = 0
    heading_path: str = ""
    kind: ChunkKind = "text"
    language: str = ""
    start: int = 0
    end: int = 0
    tokens: int = 0
    product_id: str = ""


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product or article of a catalogue. `ordinal` is its place in the document.

    `gtin` has no separators, and no zeros that pad it to 14 digits. `group_id` and `group_path` are its place in the
    catalogue's own structure, `class_system` and `class_id` in a classification such as ETIM. `unit` is the order unit.
    """

    product_id: str
    document_id: str
    ordinal: int
    article_number: str
    parameter_version: int
    gtin: str = ""
    name: str = ""
    description: str = ""
    manufacturer: str = ""
    manufacturer_article_number: str = ""
    supplier: str = ""
    type_name: str = ""
    keywords: str = ""
    group_id: str = ""
    group_path: str = ""
    class_system: str = ""
    class_id: str = ""
    unit: str = ""
    transaction: str = "new"
    language: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One value of a feature of a product. `value` is as written; `number` the same as a number where it is one.

    The rows of one feature share its `ordinal`; `position` is the value's place among them (coordinates repeat values).
    """

    document_id: str
    product_id: str
    ordinal: int
    name: str
    parameter_version: int
    position: int = 0
    value: str = ""
    number: float | None = None
    value_id: str = ""
    unit: str = ""
    system: str = ""
    feature_id: str = ""
    parent: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One price of a product. `amount` is exact and what is charged, factors applied (None where the catalogue names
    none), `lower_bound` a least quantity, `quantity` how many units it is for.

    Dates are ISO 8601 as text, '' where unbounded.
    """

    document_id: str
    product_id: str
    ordinal: int
    price_type: str
    parameter_version: int
    amount: Decimal | None = None
    currency: str = ""
    lower_bound: float | None = None
    quantity: float | None = None
    unit: str = ""
    tax: str = ""
    valid_from: str = ""
    valid_to: str = ""
    territory: str = ""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of a catalogue's structure or of a classification system; `parent` is another group's `code` or ''."""

    document_id: str
    system: str
    code: str
    name: str
    parameter_version: int
    parent: str = ""


@dataclass(frozen=True, slots=True)
class RelationRow:
    """An article's relation: kind `MEMBER` to a group's code, `DELETED` (the document takes the article back) to the
    supplier from whose catalogues, any other (`accessories`, …) to an article number."""

    document_id: str
    article_number: str
    kind: str
    target: str
    parameter_version: int


@dataclass(frozen=True, slots=True)
class MediaRow:
    """A picture or document that a product refers to."""

    document_id: str
    product_id: str
    ordinal: int
    source: str
    parameter_version: int
    media_type: str = ""
    purpose: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of the graph. Kinds: document, product, article (one that products refer to and no document describes),
    manufacturer, group, class. Made by `graph`, never by a caller.

    `number` is a product's or article's number, a group's or class's code, '' for the others.
    """

    id: str
    kind: str
    name: str
    number: str = ""
    document_id: str = ""


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """A directed edge of the graph: CONTAINS, MENTIONS, MADE_BY, IN_GROUP, IN_CLASS, SUBGROUP_OF, REFERS_TO.

    `label` is what a REFERS_TO says (`accessories`, `similar`, …).
    """

    source: str
    target: str
    kind: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class DocumentParts:
    """Rows of documents: whole ones, or parts of a large one. `vectors` is float32 [len(chunks), dimension]."""

    chunks: Sequence[ChunkRow] = ()
    vectors: np.ndarray | None = None
    products: Sequence[ProductRow] = ()
    features: Sequence[FeatureRow] = ()
    prices: Sequence[PriceRow] = ()
    groups: Sequence[GroupRow] = ()
    relations: Sequence[RelationRow] = ()
    media: Sequence[MediaRow] = ()


@dataclass(frozen=True, slots=True)
class DocumentBundle:
    """A whole document: its ledger row and its parts."""

    document: DocumentRow
    parts: DocumentParts = DocumentParts()


def document_id(path: str) -> str:
    """The id of the document at a path: a new version of the file keeps it, so that it supersedes the old one."""
    return _identifier("doc", path)


def chunk_id(document: str, ordinal: int) -> str:
    """The id of a document's n-th passage."""
    return _identifier("chk", document, str(ordinal))


def product_id(document: str, article_number: str, occurrence: int = 0) -> str:
    """The id of a product; `occurrence` counts products of the same article number in the document."""
    return _identifier("prd", document, article_number, str(occurrence))


def node_id(kind: str, *names: str) -> str:
    """The id of a graph node that is known by its names rather than by a row."""
    return _identifier("nod", kind, *names)


def exact_amount(text: str | None) -> Decimal | None:
    """An amount with a decimal point, or a comma that can part no thousands, as an exact number; None where it is none
    or beyond 18 digits before the point."""
    comma = _DECIMAL_COMMA.fullmatch(text or "")
    try:
        value = Decimal(f"{comma[1]}.{comma[2]}" if comma else text or "")
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value) >= Decimal(10) ** (AMOUNT_DIGITS - AMOUNT_SCALE):
        return None
    return value.quantize(Decimal(1).scaleb(-AMOUNT_SCALE))


def may_be_two(text: str) -> bool:
    """Whether a number is one with decimals or a thousand times as much, by who reads it: `1.250`, `20,000`."""
    return _EITHER.fullmatch(text) is not None


def finite_number(text: str | None, decimal: str = "") -> float | None:
    """A text as a finite number, with a decimal point or a German comma; None where it is none.

    Args:
        decimal: the sign where it is known: `1.000` is a thousand where it is the comma. Both in one text show it. `?`:
            either may be, so that `1.000` is no number.
    """
    plain = (text or "").strip().replace("\N{MINUS SIGN}", "-")
    if decimal == "?":
        if may_be_two(plain):
            return None
        decimal = ""
    if "," in plain and "." in plain:
        decimal = max(",", ".", key=plain.rfind)
    if decimal and _GROUPED[decimal].fullmatch(plain):
        plain = plain.replace("." if decimal == "," else ",", "")
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        value = float(plain)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in plain else None  # to Python `10_20` is a thousand and more


def _identifier(kind: str, *parts: str) -> str:
    state = hashlib.sha256(kind.encode())
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "little") + raw)
    return f"{kind}_{state.hexdigest()[:32]}"

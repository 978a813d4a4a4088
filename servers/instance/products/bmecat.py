"""Articles as BMEcat 2005 (BME e.V.): a T_NEW_CATALOG in the subset that `bmecat_2005_subset.xsd` describes.

Nothing is made up: an article that lacks what the format demands is left out and counted with the reason. No time is
written, so that equal datasets give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from xml.etree import ElementTree as ET  # only writes: nothing is parsed here

from servers.instance.products.articles import Article
from shared.dataset.rows import FeatureRow, PriceRow

NAMESPACE = "http://www.bmecat.org/bmecat/2005fd"
NUMBER_CHARS, SHORT_CHARS, LONG_CHARS, NAME_CHARS, KEYWORD_CHARS, MEDIA_CHARS = 32, 150, 64_000, 50, 50, 255
REFERENCES = frozenset({
    "sparepart", "similar", "followup", "mandatory", "select", "diff_orderunit", "accessories", "consists_of",
    "base_product", "others",
})  # fmt: skip
_CURRENCY = re.compile(r"^[A-Z]{3}$")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Head:
    """What the header says. `order_unit` is taken where the catalogue names none; None: such articles are left out."""

    catalogue_id: str
    supplier: str
    buyer: str
    version: str = "1.0"
    language: str = "deu"
    order_unit: str | None = None


def start(head: Head) -> bytes:
    """The document up to the first product."""
    header = ET.Element("HEADER")
    catalogue = ET.SubElement(header, "CATALOG")
    _texts(
        catalogue,
        ("LANGUAGE", head.language), ("CATALOG_ID", head.catalogue_id), ("CATALOG_VERSION", head.version),
    )  # fmt: skip
    _texts(ET.SubElement(header, "BUYER"), ("BUYER_NAME", head.buyer[:NAME_CHARS]))
    _texts(ET.SubElement(header, "SUPPLIER"), ("SUPPLIER_NAME", head.supplier[:NAME_CHARS]))
    opening = f'<?xml version="1.0" encoding="UTF-8"?>\n<BMECAT version="2005" xmlns="{NAMESPACE}">\n'
    return opening.encode() + ET.tostring(header, "utf-8") + b"\n<T_NEW_CATALOG>\n"


END = b"</T_NEW_CATALOG>\n</BMECAT>\n"


def problem_of(article: Article, head: Head) -> str | None:
    """Why the format cannot hold an article; None: it can."""
    product = article.product
    if len(product.article_number) > NUMBER_CHARS:
        return f"article number over {NUMBER_CHARS} characters"
    if not (product.name or product.description):
        return "no description"
    if not (product.unit or head.order_unit):
        return "no order unit"
    if not _writable_prices(article.prices):
        return "no price with amount and currency"
    return None


def is_adjusted(article: Article) -> bool:
    """Whether a text has to be cut, or freed of characters that XML cannot hold."""
    product = article.product
    texts = (product.name, product.description, product.manufacturer, product.manufacturer_article_number)
    limits = (SHORT_CHARS, LONG_CHARS, NAME_CHARS, NAME_CHARS)
    return any(len(text) > limit or _NOT_XML.search(text) for text, limit in zip(texts, limits, strict=True))


def product(article: Article, head: Head) -> bytes:
    """One PRODUCT element; `problem_of` has found nothing."""
    row = article.product
    element = ET.Element("PRODUCT", mode="new")
    _texts(element, ("SUPPLIER_PID", row.article_number))
    _details(element, article)
    _features(element, article)
    _texts(ET.SubElement(element, "PRODUCT_ORDER_DETAILS"), ("ORDER_UNIT", row.unit or head.order_unit or ""))
    _prices(element, article.prices)
    _media(element, article)
    for kind, number in article.references:
        reference = ET.SubElement(element, "PRODUCT_REFERENCE", type=kind if kind in REFERENCES else "others")
        _texts(reference, ("PROD_ID_TO", number[:NUMBER_CHARS]))
    return ET.tostring(element, "utf-8") + b"\n"


def _details(element: ET.Element, article: Article) -> None:
    row = article.product
    details = ET.SubElement(element, "PRODUCT_DETAILS")
    name, long = row.name or row.description, row.description
    if len(name) > SHORT_CHARS and not long:
        long = name
    _texts(details, ("DESCRIPTION_SHORT", name[:SHORT_CHARS]), ("DESCRIPTION_LONG", long[:LONG_CHARS]))
    if row.gtin:
        ET.SubElement(details, "INTERNATIONAL_PID", type="gtin").text = _clean(row.gtin)
    _texts(
        details,
        ("MANUFACTURER_PID", row.manufacturer_article_number[:NAME_CHARS]),
        ("MANUFACTURER_NAME", row.manufacturer[:NAME_CHARS]),
        ("MANUFACTURER_TYPE_DESCR", row.type_name[:NAME_CHARS]),
        *(("KEYWORD", word[:KEYWORD_CHARS]) for word in row.keywords.split(", ")),
    )


def _features(element: ET.Element, article: Article) -> None:
    row = article.product
    if not (article.features or row.class_id):
        return
    features = ET.SubElement(element, "PRODUCT_FEATURES")
    if row.class_id:
        _texts(
            features,
            ("REFERENCE_FEATURE_SYSTEM_NAME", row.class_system), ("REFERENCE_FEATURE_GROUP_ID", row.class_id),
        )  # fmt: skip
    for ordinal, rows in groupby(article.features, key=lambda each: each.ordinal):
        _feature(features, ordinal, list(rows))


def _feature(features: ET.Element, ordinal: int, rows: Sequence[FeatureRow]) -> None:
    first = rows[0]
    if not (first.name or first.feature_id):
        return
    feature = ET.SubElement(features, "FEATURE")
    if first.feature_id:
        template = ET.SubElement(feature, "FTEMPLATE")
        _texts(template, ("FT_ID", first.feature_id), ("FT_NAME", first.name or first.feature_id))
    else:
        _texts(feature, ("FNAME", first.name))
    ids = [row.value_id for row in rows if row.value_id]
    values = [row.value for row in rows if row.value]
    _texts(feature, *((("VALUE_IDREF", each) for each in ids) if ids else (("FVALUE", each) for each in values)))
    _texts(feature, ("FUNIT", first.unit), ("FORDER", str(ordinal + 1)))
    if ids:
        _texts(feature, ("FVALUE_DETAILS", "; ".join(values)))


def _writable_prices(prices: Sequence[PriceRow]) -> list[PriceRow]:
    return [each for each in prices if each.amount is not None and _CURRENCY.match(each.currency)]


def _prices(element: ET.Element, prices: Sequence[PriceRow]) -> None:
    def days(price: PriceRow) -> tuple[str, str]:
        return price.valid_from, price.valid_to

    for (since, until), same in groupby(sorted(_writable_prices(prices), key=days), key=days):
        details = ET.SubElement(element, "PRODUCT_PRICE_DETAILS")
        for kind, day in (("valid_start_date", since), ("valid_end_date", until)):
            if day:
                _texts(ET.SubElement(details, "DATETIME", type=kind), ("DATE", day))
        for price in same:
            _price(details, price)


def _price(details: ET.Element, price: PriceRow) -> None:
    element = ET.SubElement(details, "PRODUCT_PRICE", price_type=_clean(price.price_type or "net_list")[:20])
    _texts(
        element,
        ("PRICE_AMOUNT", plain(price.amount)), ("PRICE_CURRENCY", price.currency), ("TAX", price.tax),
        ("LOWER_BOUND", plain(price.lower_bound)), *(("TERRITORY", each) for each in price.territory.split()),
    )  # fmt: skip


def _media(element: ET.Element, article: Article) -> None:
    named = [each for each in article.media if each.source]
    if not named:
        return
    info = ET.SubElement(element, "MIME_INFO")
    for each in named:
        mime = ET.SubElement(info, "MIME")
        _texts(
            mime,
            ("MIME_TYPE", each.media_type), ("MIME_SOURCE", each.source[:MEDIA_CHARS]),
            ("MIME_DESCR", each.description), ("MIME_PURPOSE", each.purpose),
        )  # fmt: skip


def plain(number: Decimal | float | None) -> str:
    """A number without exponent or trailing zeros; '' for None."""
    if number is None:
        return ""
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _texts(parent: ET.Element, *children: tuple[str, str]) -> None:
    """Children with a text; empty ones are left out."""
    for tag, text in children:
        if cleaned := _clean(text):
            ET.SubElement(parent, tag).text = cleaned


def _clean(text: str) -> str:
    return _NOT_XML.sub(" ", text).replace("\r\n", "\n").replace("\r", "\n").strip()

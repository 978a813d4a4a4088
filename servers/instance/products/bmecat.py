"""Articles as BMEcat 2005 (BME e.V.): a T_NEW_CATALOG in the subset that `bmecat_2005_subset.xsd` describes.

Nothing is made up: an article that lacks what the format demands is left out and counted with the reason. A price needs
amount, currency, type, the article's order unit and readable dates. No time of writing stands in it, so that equal
datasets give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from xml.etree import ElementTree as ET  # only writes: nothing is parsed here

from servers.instance.products.articles import Article
from shared.dataset.rows import STATUS, FeatureRow, PriceRow

NAMESPACE = "http://www.bmecat.org/bmecat/2005fd"
NUMBER_CHARS, SHORT_CHARS, LONG_CHARS, NAME_CHARS, KEYWORD_CHARS, MEDIA_CHARS = 32, 150, 64_000, 50, 50, 255
UNIT_CHARS = 20
REFERENCES = frozenset({
    "sparepart", "similar", "followup", "mandatory", "select", "diff_orderunit", "accessories", "consists_of",
    "base_product", "others",
})  # fmt: skip
_CURRENCY = re.compile(r"[A-Z]{3}")
_PRICE_TYPE = re.compile(r"net_list|gros_list|net_customer|nrp|net_customer_exp|udp_\w{1,16}")
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
    if (problem := _problem_of_number(article)) is not None:
        return problem
    if not (_clean(product.name) or _clean(product.description)):
        return "no description"
    if not _order_unit(article, head):
        return "no order unit"
    if len(_order_unit(article, head)) > UNIT_CHARS:
        return f"order unit over {UNIT_CHARS} characters"
    return _problem_of_prices(_writable_prices(article, head))


def _problem_of_number(article: Article) -> str | None:
    number = article.product.article_number
    if article.namesakes > 1:
        return "article number of several makers"
    if len(number) > NUMBER_CHARS:
        return f"article number over {NUMBER_CHARS} characters"
    if not _exact(number, NUMBER_CHARS):
        return "article number with spaces around it or characters that XML cannot hold"
    return None


def _problem_of_prices(prices: Sequence[PriceRow]) -> str | None:
    if not prices:
        return "no complete price (amount, currency, type, order unit, dates)"
    if len({_quantity(each) for each in prices}) > 1:
        return "prices for different quantities"
    if len({_type(each) for each in prices}) < len({each.price_type for each in prices}):
        return "price types that the format cannot tell apart"
    return None


def is_adjusted(article: Article, head: Head) -> bool:
    """Whether a text has to be cut or freed of characters that XML cannot hold, or a price, a medium or a reference
    that the format cannot hold is left out."""
    row = article.product
    texts = [
        (row.name, SHORT_CHARS), (row.description, LONG_CHARS), (row.manufacturer, NAME_CHARS),
        (row.manufacturer_article_number, NAME_CHARS), (row.type_name, NAME_CHARS),
        *((word, KEYWORD_CHARS) for word in row.keywords.split(", ")),
    ]  # fmt: skip
    exact = [
        *((each.source, MEDIA_CHARS) for each in article.media if each.source),
        *((number, NUMBER_CHARS) for _, number in article.references),
    ]
    return (
        any(len(text) > limit or _NOT_XML.search(text) for text, limit in texts)
        or not all(_exact(text, limit) for text, limit in exact)
        or len(_writable_prices(article, head)) < len(article.prices)
    )


def product(article: Article, head: Head) -> bytes:
    """One PRODUCT element; `problem_of` has found nothing."""
    row = article.product
    element = ET.Element("PRODUCT", mode="new")
    _texts(element, ("SUPPLIER_PID", row.article_number))
    _details(element, article)
    _features(element, article)
    prices = _writable_prices(article, head)
    _order(element, _order_unit(article, head), _quantity(prices[0]))
    _prices(element, prices)
    _media(element, article)
    for kind, number in article.references:
        if not _exact(number, NUMBER_CHARS):  # cut, it could name another article
            continue
        reference = ET.SubElement(element, "PRODUCT_REFERENCE", type=kind if kind in REFERENCES else "others")
        _texts(reference, ("PROD_ID_TO", number))
    return ET.tostring(element, "utf-8") + b"\n"


def _details(element: ET.Element, article: Article) -> None:
    row = article.product
    details = ET.SubElement(element, "PRODUCT_DETAILS")
    name, long = _clean(row.name) or _clean(row.description), _clean(row.description)
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
    if not (row.class_id or any(each.feature_id != STATUS for each in article.features)):
        return
    features = ET.SubElement(element, "PRODUCT_FEATURES")
    if row.class_id:
        _texts(
            features,
            ("REFERENCE_FEATURE_SYSTEM_NAME", row.class_system), ("REFERENCE_FEATURE_GROUP_ID", row.class_id),
        )  # fmt: skip
    of_class = (each for each in article.features if each.feature_id != STATUS)
    for ordinal, rows in groupby(of_class, key=lambda each: each.ordinal):
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


def _order_unit(article: Article, head: Head) -> str:
    return _clean(article.product.unit) or head.order_unit or ""


def _order(element: ET.Element, unit: str, quantity: Decimal) -> None:
    """The order unit, and for how many of it the prices are where that is not one."""
    details = ET.SubElement(element, "PRODUCT_ORDER_DETAILS")
    _texts(details, ("ORDER_UNIT", unit), ("PRICE_QUANTITY", "" if quantity == 1 else plain(quantity)))


def _writable_prices(article: Article, head: Head) -> list[PriceRow]:
    unit = _order_unit(article, head)
    return [
        each
        for each in article.prices
        if each.amount is not None
        and _CURRENCY.fullmatch(each.currency)
        and _type(each)
        and _quantity(each) > 0
        and _clean(each.unit) in ("", unit)
        and None not in (_moment(each.valid_from), _moment(each.valid_to))
    ]


def _quantity(price: PriceRow) -> Decimal:
    """For how many order units the amount is; catalogues that do not tell mean one."""
    return Decimal(1) if price.quantity is None else Decimal(str(price.quantity))


def _type(price: PriceRow) -> str:
    """The type as the format names it; one that it does not know (a table's heading) is user-defined; '' for none."""
    if _PRICE_TYPE.fullmatch(price.price_type):
        return price.price_type
    name = re.sub(r"\W+", "_", price.price_type).strip("_")
    return f"udp_{name[:16]}" if name else ""


def _moment(text: str) -> tuple[tuple[str, str], ...] | None:
    """DATE, and TIME and TIMEZONE where the text has a time; none for ''; None where it cannot be read."""
    try:
        moment = datetime.fromisoformat(text).isoformat(timespec="seconds") if text else ""
    except ValueError:
        return None
    date, time, zone = moment[:10], moment[11:19], moment[19:]
    return (("DATE", date), ("TIME", time), ("TIMEZONE", zone)) if len(text) > 10 else (("DATE", date),)


def _prices(element: ET.Element, prices: Sequence[PriceRow]) -> None:
    def days(price: PriceRow) -> tuple[str, str]:
        return price.valid_from, price.valid_to

    for (since, until), same in groupby(sorted(prices, key=days), key=days):
        details = ET.SubElement(element, "PRODUCT_PRICE_DETAILS")
        for kind, day in (("valid_start_date", since), ("valid_end_date", until)):
            if day:
                _texts(ET.SubElement(details, "DATETIME", type=kind), *(_moment(day) or ()))
        for price in same:
            _price(details, price)


def _price(details: ET.Element, price: PriceRow) -> None:
    element = ET.SubElement(details, "PRODUCT_PRICE", price_type=_type(price))
    _texts(
        element,
        ("PRICE_AMOUNT", plain(price.amount)), ("PRICE_CURRENCY", price.currency), ("TAX", price.tax),
        ("LOWER_BOUND", plain(price.lower_bound)), *(("TERRITORY", each) for each in price.territory.split()),
    )  # fmt: skip


def _media(element: ET.Element, article: Article) -> None:
    named = [each for each in article.media if _exact(each.source, MEDIA_CHARS)]  # cut, an address leads nowhere
    if not named:
        return
    info = ET.SubElement(element, "MIME_INFO")
    for each in named:
        mime = ET.SubElement(info, "MIME")
        _texts(
            mime,
            ("MIME_TYPE", each.media_type), ("MIME_SOURCE", each.source),
            ("MIME_DESCR", each.description), ("MIME_PURPOSE", purpose_of(each.purpose)),
        )  # fmt: skip


def purpose_of(named: str) -> str:
    """A medium's purpose as BMEcat names it: of the codes of ETIM's guideline (MD01, …) the nearest, or `others`."""
    of_etim = re.fullmatch(r"MD\d{2}", named) is not None
    return {"MD01": "normal", "MD22": "data_sheet"}.get(named, "others" if of_etim else named)


def plain(number: Decimal | float | None) -> str:
    """A number without exponent or trailing zeros; '' for None."""
    if number is None:
        return ""
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exact(text: str, limit: int) -> bool:
    """Whether a text that names something can stand in the format as it is."""
    return 0 < len(text) <= limit and _clean(text) == text


def _texts(parent: ET.Element, *children: tuple[str, str]) -> None:
    """Children with a text; empty ones are left out."""
    for tag, text in children:
        if cleaned := _clean(text):
            ET.SubElement(parent, tag).text = cleaned


def _clean(text: str) -> str:
    return _NOT_XML.sub(" ", text).replace("\r\n", "\n").replace("\r", "\n").strip()

"""One PRODUCT or ARTICLE element of a BMEcat catalogue as a `Product`. Nothing in the element is left out."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.xml import Element, local
from servers.cradle.processing.extraction import (
    Classification,
    Feature,
    Localised,
    Media,
    Price,
    Product,
    Reference,
)

_PRICED = frozenset({"PRODUCT_PRICE_DETAILS", "PRODUCT_PRICE"})
_GTIN_KINDS = frozenset({"gtin", "ean", "upc"})
_INLINE = frozenset({"a", "b", "em", "font", "i", "small", "span", "strong", "sub", "sup", "u"})


@dataclass(slots=True)
class _Draft:
    currency: str = ""
    one: dict[str, str] = field(default_factory=dict)
    names: list[Localised] = field(default_factory=list)
    descriptions: list[Localised] = field(default_factory=list)
    keywords: list[Localised] = field(default_factory=list)
    classifications: list[Classification] = field(default_factory=list)
    features: list[Feature] = field(default_factory=list)
    prices: list[Price] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)


def product(element: Element, transaction: str, supplier: tuple[str, str], currency: str = "") -> Product:
    """The product that a PRODUCT or ARTICLE element describes.

    Args:
        currency: the catalogue's, which BMEcat gives every amount that names no other.
    """
    draft = _Draft(currency=currency)
    children = [(_neutral(child), child) for child in element]
    children.sort(key=lambda each: each[0] in _PRICED)  # a price is one of what is ordered, wherever that stands
    for name, child in children:
        _SECTIONS.get(name, _rest)(child, draft)
    one = draft.one
    number = one.pop("article_number", "") or one.get("gtin", "") or one.get("manufacturer_number", "")
    return Product(
        article_number=number,
        names=tuple(draft.names),
        descriptions=tuple(draft.descriptions),
        keywords=tuple(draft.keywords),
        transaction=transaction,
        mode=element.get("mode") or "",
        supplier_id=supplier[0],
        supplier_name=supplier[1],
        gtin=one.get("gtin", ""),
        manufacturer=one.get("manufacturer", ""),
        manufacturer_number=one.get("manufacturer_number", ""),
        type_name=one.get("type_name", ""),
        order_unit=one.get("order_unit", ""),
        classifications=tuple(draft.classifications),
        features=tuple(draft.features),
        prices=tuple(draft.prices),
        media=tuple(draft.media),
        references=tuple(draft.references),
        properties=tuple(draft.properties),
    )


def text_of(element: Element, name: str) -> str:
    """The text of the first child of that name, '' where there is none."""
    return next((_text(child) for child in element if local(child) == name), "")


def all_text(element: Element) -> list[str]:
    """Every text below the element as `path: text`, in document order."""
    return [f"{path}: {text}" for path, text in _leaves(element, local(element))]


def _neutral(element: Element) -> str:
    """The name as BMEcat 2005 writes it, for an element of 1.2 as well."""
    name = local(element)
    if name.startswith("ARTICLE"):
        name = "PRODUCT" + name[len("ARTICLE") :]
    return name.removesuffix("_AID") + "_PID" if name.endswith("_AID") else name


def _text(element: Element) -> str:
    return _plain(element.text or "")


def _plain(raw: str) -> str:
    text = squeezed(raw)
    # Exporters escape twice: the text then reads `&plusmn;`.
    return squeezed(html.unescape(text)) if "&" in text else text


def _localised(element: Element) -> Localised:
    """The text, with that of markup in it."""
    return Localised(_plain("".join(_pieces(element))), element.get("lang") or "")


def _pieces(element: Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        edge = "" if local(child).lower() in _INLINE else " "
        yield from (edge, *_pieces(child), edge, child.tail or "")


def _leaves(element: Element, path: str) -> Iterator[tuple[str, str]]:
    if (text := _text(element)) and isinstance(element.tag, str):
        kind = element.get("type")
        yield (f"{path}[{kind}]" if kind else path), text
    for child in element:
        yield from _leaves(child, f"{path}/{local(child)}")
        if behind := _plain(child.tail or ""):
            yield path, behind


def _rest(element: Element, draft: _Draft) -> None:
    draft.properties.extend(_leaves(element, local(element)))


def _number(element: Element, draft: _Draft) -> None:
    draft.one["article_number"] = _text(element)


_DETAILS = {
    "MANUFACTURER_PID": "manufacturer_number",
    "MANUFACTURER_NAME": "manufacturer",
    "MANUFACTURER_TYPE_DESCR": "type_name",
}


def _details(element: Element, draft: _Draft) -> None:
    texts = {"DESCRIPTION_SHORT": draft.names, "DESCRIPTION_LONG": draft.descriptions, "KEYWORD": draft.keywords}
    for child in element:
        name = _neutral(child)
        if not _text(child) and not len(child):
            continue
        if name in texts:
            texts[name].append(_localised(child))
        elif name in _DETAILS and _DETAILS[name] not in draft.one:
            draft.one[_DETAILS[name]] = _text(child)
        elif _is_gtin(name, child) and "gtin" not in draft.one:
            draft.one["gtin"] = _text(child)
        else:
            _rest(child, draft)


def _is_gtin(name: str, element: Element) -> bool:
    return name == "EAN" or (name == "INTERNATIONAL_PID" and (element.get("type") or "gtin").lower() in _GTIN_KINDS)


def _features(element: Element, draft: _Draft) -> None:
    system = text_of(element, "REFERENCE_FEATURE_SYSTEM_NAME")
    group = text_of(element, "REFERENCE_FEATURE_GROUP_ID") or text_of(element, "REFERENCE_FEATURE_GROUP_NAME")
    if system or group:
        draft.classifications.append(Classification(system, group))
    _feature_list(element, system, group, draft)


def _feature_list(element: Element, system: str, group: str, draft: _Draft) -> None:
    for child in element:
        name = local(child)
        if name == "FEATURE":
            draft.features.append(_feature(child, system, group))
        elif name == "FEATURE_GROUP":
            inner = text_of(child, "REFERENCE_FEATURE_GROUP_ID") or group
            _feature_list(child, system, inner, draft)
        elif name not in ("REFERENCE_FEATURE_SYSTEM_NAME", "REFERENCE_FEATURE_GROUP_ID"):
            _rest(child, draft)


def _feature(element: Element, system: str, group: str) -> Feature:
    """A FEATURE with its template and variants. `FVALUE_DETAILS` names the value where only its id is given."""
    names, values, details, value_ids, rest = [], [], [], [], []
    one: dict[str, str] = {}
    for node in _within(element):
        name, text = local(node), _text(node)
        if not text:
            continue
        if name in ("FNAME", "FT_NAME"):
            names.append(_localised(node))
        elif name in ("FVALUE", "VALUE_TEXT"):
            values.append(_localised(node))
        elif name == "FVALUE_DETAILS":
            details.append(_localised(node))
        elif name in ("VALUE_IDREF", "FVALUE_IDREF"):
            value_ids.append(text)
        elif name in _FEATURE_FIELDS and _FEATURE_FIELDS[name] not in one:
            one[_FEATURE_FIELDS[name]] = text
        else:
            rest.append(f"{name}: {text}")
    if values:
        rest = [detail.text for detail in details] + rest
    return Feature(
        system=system,
        group=group,
        names=tuple(names),
        values=tuple(values or details),
        value_ids=tuple(value_ids),
        description="; ".join(rest),
        **one,
    )


_FEATURE_FIELDS = {
    "FT_ID": "feature_id",
    "FT_IDREF": "feature_id",
    "FUNIT": "unit",
    "FT_UNIT": "unit",
    "FORDER": "order",
    "FID": "identifier",
    "FPARENT_ID": "parent",
}


def _within(element: Element) -> Iterator[Element]:
    yield from (node for node in element.iter() if node is not element and isinstance(node.tag, str))


def _order(element: Element, draft: _Draft) -> None:
    for child in element:
        if local(child) == "ORDER_UNIT":
            draft.one["order_unit"] = _text(child)
        else:
            _rest(child, draft)
    if quantity := text_of(element, "PRICE_QUANTITY"):
        draft.one["price_quantity"] = quantity


def _prices(element: Element, draft: _Draft) -> None:
    start, end = "", ""
    rest = []
    for child in element:
        if local(child) == "DATETIME":
            when = moment(child)
            kind = child.get("type") or ""
            start = when if kind == "valid_start_date" else start
            end = when if kind == "valid_end_date" else end
        elif local(child) in ("VALID_START_DATE", "VALID_END_DATE"):
            start = _text(child) if "START" in local(child) else start
            end = _text(child) if "END" in local(child) else end
        elif _neutral(child) == "PRODUCT_PRICE":
            rest.append(child)
        else:
            _rest(child, draft)
    for child in rest:
        draft.prices.append(_price(child, start, end, draft))


def moment(element: Element) -> str:
    """A DATETIME, as ISO 8601 where its parts are."""
    date, time = text_of(element, "DATE"), text_of(element, "TIME")
    return f"{date}T{time}{text_of(element, 'TIMEZONE')}" if time else date


_PRICE_FIELDS = {
    "PRICE_AMOUNT": "amount",
    "PRICE_CURRENCY": "currency",
    "LOWER_BOUND": "lower_bound",
    "PRICE_FACTOR": "factor",
    "TAX": "tax",
}


def _price(element: Element, start: str, end: str, draft: _Draft) -> Price:
    one: dict[str, str] = {}
    territories = []
    for node in _within(element):
        name, text = local(node), _text(node)
        if not text:
            continue
        if name == "TERRITORY":
            territories.append(text)
        elif name in _PRICE_FIELDS and _PRICE_FIELDS[name] not in one:
            one[_PRICE_FIELDS[name]] = text
        else:
            kind = node.get("type")
            draft.properties.append((f"PRODUCT_PRICE/{name}[{kind}]" if kind else f"PRODUCT_PRICE/{name}", text))
    if "amount" in one:
        one.setdefault("currency", draft.currency)
    return Price(
        amount=one.pop("amount", None),
        kind=element.get("price_type") or "",
        quantity=draft.one.get("price_quantity", ""),
        unit=draft.one.get("order_unit", ""),
        valid_from=start,
        valid_to=end,
        territories=tuple(territories),
        **one,
    )


_MEDIA_FIELDS = {
    "MIME_SOURCE": "source",
    "MIME_TYPE": "media_type",
    "MIME_PURPOSE": "purpose",
    "MIME_DESCR": "description",
}


def _media(element: Element, draft: _Draft) -> None:
    for mime in element:
        one = {"source": ""}
        for node in mime:
            field = _MEDIA_FIELDS.get(local(node))
            if field is not None and not one.get(field):  # further ones are of other languages
                one[field] = _text(node)
            else:
                _rest(node, draft)
        draft.media.append(Media(**one))


_OF_ETIM = "UDX.EDXF."


def _extensions(element: Element, draft: _Draft) -> None:
    """What stands beyond the standard; the media of ETIM's guideline among it are media as any other."""
    path = local(element)
    if text := _text(element):
        draft.properties.append((path, text))
    for child in element:
        if local(child) != f"{_OF_ETIM}MIME_INFO":
            draft.properties.extend(_leaves(child, f"{path}/{local(child)}"))
            continue
        for mime in filter(local, child):
            draft.media.append(_medium_of_etim(mime, draft))


def _medium_of_etim(element: Element, draft: _Draft) -> Media:
    names = ("MIME_DESIGNATION", "MIME_FILENAME", "MIME_ALT")
    told = [(local(node).removeprefix(_OF_ETIM), _text(node)) for node in element]
    one = dict(told)
    rest = [each for each in told if each[1] and each[0] not in ("MIME_SOURCE", "MIME_CODE", *names)]
    draft.properties += [(f"{_OF_ETIM}{name}", text) for name, text in rest]
    called = dict.fromkeys(text for name, text in told if name in names and text)
    return Media(one.get("MIME_SOURCE", ""), purpose=one.get("MIME_CODE", ""), description=" / ".join(called))


def _reference(element: Element, draft: _Draft) -> None:
    number = text_of(element, "PROD_ID_TO") or text_of(element, "ART_ID_TO")
    draft.references.append(Reference(kind := element.get("type") or "", number))
    if quantity := element.get("quantity"):  # of a set's parts
        draft.properties.append((f"PRODUCT_REFERENCE[{kind}]/quantity", f"{number}: {quantity}"))
    for node in element:
        if local(node) not in ("PROD_ID_TO", "ART_ID_TO"):
            _rest(node, draft)


_SECTIONS: dict[str, Callable[[Element, _Draft], None]] = {
    "SUPPLIER_PID": _number,
    "PRODUCT_DETAILS": _details,
    "PRODUCT_FEATURES": _features,
    "PRODUCT_ORDER_DETAILS": _order,
    "PRODUCT_PRICE_DETAILS": _prices,
    "PRODUCT_PRICE": lambda element, draft: draft.prices.append(_price(element, "", "", draft)),
    "MIME_INFO": _media,
    "USER_DEFINED_EXTENSIONS": _extensions,
    "PRODUCT_REFERENCE": _reference,
}

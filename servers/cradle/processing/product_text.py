"""A product in words: what its passages say. The first line names it and is repeated in each of them."""

from __future__ import annotations

from collections.abc import Iterator

from servers.cradle.processing.extraction import Feature, Localised, Price, Product
from servers.cradle.processing.language import guess_of_names
from servers.cradle.processing.trade_words import element_worded, worded
from shared.languages import SEVERAL

MAX_NESTING = 8
_GERMAN = {
    "article": "Artikelnummer",
    "gtin": "GTIN",
    "manufacturer": "Hersteller",
    "manufacturer_number": "Herstellernummer",
    "type": "Typ",
    "supplier": "Lieferant",
    "unit": "Bestelleinheit",
    "class": "Klassifikation",
    "keywords": "Stichworte",
    "price": "Preis",
    "from": "ab",
    "per": "je",
    "factor": "Faktor",
    "tax": "Steuer",
    "valid": "gültig",
    "valid_from": "gültig ab",
    "valid_to": "gültig bis",
    "no_amount": "ohne Betrag",
    "media": "Medien",
}
_ENGLISH = {
    "article": "Article number",
    "gtin": "GTIN",
    "manufacturer": "Manufacturer",
    "manufacturer_number": "Manufacturer number",
    "type": "Type",
    "supplier": "Supplier",
    "unit": "Order unit",
    "class": "Classification",
    "keywords": "Keywords",
    "price": "Price",
    "from": "from",
    "per": "per",
    "factor": "factor",
    "tax": "tax",
    "valid": "valid",
    "valid_from": "valid from",
    "valid_to": "valid to",
    "no_amount": "no amount",
    "media": "Media",
}


def product_lines(product: Product, language: str = "") -> list[str]:
    """The product's lines: its name first, then everything that is known of it, one fact a line.

    Args:
        language: what `language_of` says, where it has been asked.
    """
    language = language or language_of(product)
    words = _ENGLISH if language == "en" else _GERMAN
    lines = [_title(product, words), *_facts(product, words, language)]
    lines += [text.text for text in product.descriptions]
    if product.keywords:
        lines.append(f"{words['keywords']}: " + ", ".join(dict.fromkeys(word.text for word in product.keywords)))
    lines += list(_features(product.features, language))
    lines += [_price(price, words, language) for price in product.prices]
    lines += [f"{worded('reference', each.kind, language)}: {each.article_number}" for each in product.references]
    lines += [f"{words['media']}: {_media}" for _media in _media_lines(product, language)]
    lines += list(_properties(product, language))
    return [line for line in (" ".join(line.split()) for line in lines) if line]


def language_of(product: Product) -> str:
    """`de` or `en`, as the catalogue says of the first name, else by its words, else as its list."""
    declared = product.names[0].language.lower()[:2] if product.names else ""
    if declared in ("de", "en"):
        return declared
    texts = " ".join(text.text for text in (*product.names, *product.descriptions))
    return guess_of_names(texts, product.language or "de")


def languages_of(product: Product) -> str:
    """`SEVERAL` where the catalogue names it in German and English, as the first line of each of its passages then
    does; '' where not."""
    said = {name.language.lower()[:2] for name in product.names}
    return SEVERAL if "en" in said and not said.isdisjoint(("de", "ge")) else ""


def _title(product: Product, words: dict[str, str]) -> str:
    names = " / ".join(dict.fromkeys(name.text for name in product.names))
    number = f"{words['article']} {product.article_number}"
    return f"{names} ({number})" if names else number


def _facts(product: Product, words: dict[str, str], language: str) -> Iterator[str]:
    supplier = " ".join(filter(None, (product.supplier_name, product.supplier_id)))
    pairs = (
        ("gtin", product.gtin),
        ("manufacturer", product.manufacturer),
        ("manufacturer_number", product.manufacturer_number),
        ("type", product.type_name),
        ("supplier", supplier),
        ("unit", worded("unit", product.order_unit, language)),
    )
    yield from (f"{words[name]}: {value}" for name, value in pairs if value)
    for place in product.classifications:
        yield f"{words['class']}: {place.system} {place.group} {place.name}"


def _features(features: tuple[Feature, ...], language: str) -> Iterator[str]:
    """`parents › name: values unit`. A feature that only groups others stands in their paths."""
    by_id = {feature.identifier: feature for feature in features if feature.identifier}
    parents = {feature.parent for feature in features if feature.parent}
    for feature in features:
        value = _value(feature, language)
        groups_only = feature.identifier in parents and value in ("", feature.name)
        if not groups_only:
            path = " › ".join([*_above(feature, by_id), " / ".join(_texts(feature.names)) or feature.feature_id])
            yield f"{path}: {value}" if value else path


def _above(feature: Feature, by_id: dict[str, Feature]) -> list[str]:
    names: list[str] = []
    parent = by_id.get(feature.parent)
    while parent is not None and len(names) < MAX_NESTING:
        names.insert(0, parent.name)
        parent = by_id.get(parent.parent)
    return names


def _value(feature: Feature, language: str) -> str:
    languages = {value.language for value in feature.values}
    # Coordinates repeat numbers and every one counts; the same word in two languages is said once.
    values = _texts(feature.values) if len(languages) > 1 else [value.text for value in feature.values]
    values = values or list(feature.value_ids)
    text = " / ".join(values) + (f" {worded('unit', feature.unit, language)}" if feature.unit and values else "")
    return f"{text} ({feature.description})" if feature.description else text


def _texts(texts: tuple[Localised, ...]) -> list[str]:
    return list(dict.fromkeys(text.text for text in texts))


def _price(price: Price, words: dict[str, str], language: str) -> str:
    kind = worded("price", price.kind, language)
    named = f" ({kind})" if kind == price.kind else f", {kind}"
    pieces = [f"{words['price']}{named if kind else ''}:"]
    pieces.append(f"{price.amount} {price.currency}".strip() if price.amount is not None else words["no_amount"])
    if price.quantity or price.unit:
        pieces.append(f"{words['per']} {price.quantity} {worded('unit', price.unit, language)}")
    if price.lower_bound:
        pieces.append(f"{words['from']} {price.lower_bound}")
    if price.factor and price.factor != "1":
        pieces.append(f"{words['factor']} {price.factor}")
    if price.tax:
        pieces.append(f"{words['tax']} {price.tax}")
    if price.valid_from and price.valid_to:
        pieces.append(f"{words['valid']} {price.valid_from[:10]}–{price.valid_to[:10]}")
    elif price.valid_from or price.valid_to:
        bound = "valid_from" if price.valid_from else "valid_to"
        pieces.append(f"{words[bound]} {(price.valid_from or price.valid_to)[:10]}")
    return " ".join([*pieces, *price.territories])


def _media_lines(product: Product, language: str) -> Iterator[str]:
    for media in product.media:
        yield " ".join(filter(None, (worded("media", media.purpose, language), media.description, media.source)))


def _properties(product: Product, language: str) -> Iterator[str]:
    priced_for = {price.quantity for price in product.prices}
    for name, value in product.properties:
        if name == "PRICE_QUANTITY" and value in priced_for:
            continue  # each price says it
        told = worded("unit", value, language) if name.endswith("_UNIT") else value
        yield f"{element_worded(name, language)}: {told}"

"""From what was read to the rows of the dataset. Deterministic: ids come from paths, article numbers and places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from servers.cradle.processing.chunking import Chunk
from servers.cradle.processing.extraction import Classification, Extraction, Feature, Localised, Price, Product
from servers.cradle.processing.product_text import language_of
from shared.dataset.rows import (
    MEMBER,
    STATUS,
    ChunkRow,
    DocumentParts,
    FeatureRow,
    GroupRow,
    MediaRow,
    PriceRow,
    ProductRow,
    RelationRow,
    chunk_id,
    exact_amount,
    finite_number,
    product_id,
)

if TYPE_CHECKING:
    import numpy as np

_STATE = re.compile(r"(?:PRODUCT|ARTICLE)_STATUS(?:\[(\w+)\])?")
_GTIN_LENGTHS = (8, 12, 13, 14)
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[\s\N{NO-BREAK SPACE}\N{EN DASH}-](?=\d)")
_SYSTEMS = ("etim", "eclass", "ecl@ss", "unspsc", "proficlass", "gpc")


class Records:
    """Makes the rows of one document, part by part."""

    def __init__(self, document_id: str, parameter_version: int) -> None:
        self._document = document_id
        self._version = parameter_version
        self._ids: list[str] = []
        self._occurrences: Counter[str] = Counter()
        self._groups: set[tuple[str, ...]] = set()
        self._relations: set[tuple[str, str, str]] = set()

    def of(self, part: Extraction, chunks: Sequence[Chunk], vectors: np.ndarray | None) -> DocumentParts:
        """The rows of a part, whose passages are `chunks` with these vectors."""
        first = len(self._ids)
        products = part.products
        for product in products:
            number = product.article_number
            self._ids.append(product_id(self._document, number, self._occurrences[number]))
            self._occurrences[number] += 1
        placed = list(zip(range(first, len(self._ids)), self._ids[first:], products, strict=True))
        return DocumentParts(
            chunks=[self._chunk(chunk) for chunk in chunks],
            vectors=vectors,
            products=[self._product(place, key, product) for place, key, product in placed],
            features=[row for _, key, product in placed for row in self._features(key, product)],
            prices=[row for _, key, product in placed for row in self._prices(key, product)],
            groups=list(self._group_rows(part)),
            relations=list(self._relation_rows(part)),
            media=[row for _, key, product in placed for row in self._media(key, product)],
        )

    def _chunk(self, chunk: Chunk) -> ChunkRow:
        return ChunkRow(
            chunk_id=chunk_id(self._document, chunk.ordinal),
            document_id=self._document,
            ordinal=chunk.ordinal,
            text=chunk.text,
            parameter_version=self._version,
            page=chunk.page,
            heading_path=chunk.heading_path,
            kind=chunk.kind,
            language=chunk.language,
            start=chunk.start,
            end=chunk.end,
            tokens=chunk.tokens,
            product_id=self._ids[chunk.product] if chunk.product is not None else "",
        )

    def _product(self, ordinal: int, key: str, product: Product) -> ProductRow:
        language = language_of(product)
        place = _class_of(product)
        group = next((each for each in product.classifications if each != place and not _is_class(each)), None)
        return ProductRow(
            product_id=key,
            document_id=self._document,
            ordinal=ordinal,
            article_number=product.article_number,
            parameter_version=self._version,
            gtin=_one_writing(product.gtin),
            name=_in(product.names, language) or product.name,
            description=_in(product.descriptions, language),
            manufacturer=product.manufacturer,
            manufacturer_article_number=product.manufacturer_number,
            supplier=product.supplier_name or product.supplier_id,
            type_name=product.type_name,
            keywords=", ".join(dict.fromkeys(word.text for word in product.keywords)),
            group_id=group.group if group else "",
            class_system=place.system if place else "",
            class_id=place.group if place else "",
            unit=product.order_unit,
            transaction=product.transaction,
            language=language,
            page=product.page,
        )

    def _features(self, key: str, product: Product) -> Iterator[FeatureRow]:
        """One row a value; the rows of one feature share its ordinal."""
        for ordinal, feature in enumerate(product.features):
            for position, value in enumerate(_values(feature)):
                yield self._feature(key, (ordinal, position), feature, *value)
        states = [(kind[1] or "", text) for name, text in product.properties if (kind := _STATE.fullmatch(name))]
        for ordinal, (kind, text) in enumerate(states, len(product.features)):
            state = Feature(feature_id=STATUS, names=(Localised("Status"),))
            yield self._feature(key, (ordinal, 0), state, text, language_of(product), kind)

    def _feature(
        self, key: str, place: tuple[int, int], feature: Feature, text: str, language: str, value_id: str
    ) -> FeatureRow:
        return FeatureRow(
            document_id=self._document,
            product_id=key,
            ordinal=place[0],
            name=_in(feature.names, language) or feature.name,
            parameter_version=self._version,
            position=place[1],
            value=text,
            number=finite_number(text, feature.decimal),
            value_id=value_id,
            unit=feature.unit,
            system=feature.system,
            feature_id=feature.feature_id,
            parent=feature.parent,
            language=language,
        )

    def _prices(self, key: str, product: Product) -> Iterator[PriceRow]:
        for ordinal, price in enumerate(product.prices):
            yield self._price(key, ordinal, price)

    def _price(self, key: str, ordinal: int, price: Price) -> PriceRow:
        return PriceRow(
            document_id=self._document,
            product_id=key,
            ordinal=ordinal,
            price_type=price.kind,
            parameter_version=self._version,
            amount=_charged(price),
            currency=price.currency,
            lower_bound=finite_number(price.lower_bound),
            quantity=finite_number(price.quantity),
            unit=price.unit,
            tax=price.tax,
            valid_from=price.valid_from,
            valid_to=price.valid_to,
            territory=" ".join(price.territories),
        )

    def _media(self, key: str, product: Product) -> Iterator[MediaRow]:
        for ordinal, media in enumerate(product.media):
            yield MediaRow(
                document_id=self._document,
                product_id=key,
                ordinal=ordinal,
                source=media.source,
                parameter_version=self._version,
                media_type=media.media_type,
                purpose=media.purpose,
                description=media.description,
            )

    def _group_rows(self, part: Extraction) -> Iterator[GroupRow]:
        found = [(each.system, each.identifier, each.name, each.parent) for each in part.groups]
        for product in part.products:
            found += [(each.system, each.group, each.group, "") for each in _groups_named(product)]
        for group in found:
            if group not in self._groups:
                self._groups.add(group)
                system, code, name, parent = group
                yield GroupRow(self._document, system, code, name, self._version, parent)

    def _relation_rows(self, part: Extraction) -> Iterator[RelationRow]:
        found = [(each.article_number, each.kind, each.target) for each in part.relations]
        for product in part.products:
            number = product.article_number
            place = _class_of(product)
            found += [(number, MEMBER, each.group) for each in product.classifications if each != place]
            found += [(number, each.kind or "related", each.article_number) for each in product.references]
        for relation in found:
            if relation not in self._relations and relation[2]:
                self._relations.add(relation)
                yield RelationRow(self._document, *relation, self._version)


def _charged(price: Price) -> Decimal | None:
    """The amount times BMEcat's PRICE_FACTOR, as the standard has it; None where one of them is no number."""
    amount, factor = exact_amount(price.amount), exact_amount(price.factor or "1")
    return None if amount is None or factor is None else exact_amount(str(amount * factor))


def _one_writing(gtin: str) -> str:
    """A GTIN without blanks and hyphens, and without the zeros that pad one of 13 digits or 8 to 14, so that all
    documents have the same; any other text as it is."""
    digits = _BETWEEN_DIGITS.sub("", gtin)
    if not (digits.isascii() and digits.isdigit() and len(digits) in _GTIN_LENGTHS):
        return gtin
    padded = len(digits) == max(_GTIN_LENGTHS) and digits.startswith("0")
    return (digits.removeprefix("000000") if digits.startswith("000000") else digits[1:]) if padded else digits


def _is_class(place: Classification) -> bool:
    return place.system.lower().startswith(_SYSTEMS)


def _class_of(product: Product) -> Classification | None:
    """The product's place in a standard classification, the newest ETIM or ECLASS first named."""
    return next(filter(_is_class, product.classifications), None)


def _groups_named(product: Product) -> list[Classification]:
    """Groups that a table names in words (`Warengruppe`): they are known from nowhere else."""
    return [
        each for each in product.classifications if not _is_class(each) and not each.system.lower().startswith("udf")
    ]


def _values(feature: Feature) -> Iterator[tuple[str, str, str]]:
    """(value, language, value id) of each value; one empty value where the feature has none."""
    ids = feature.value_ids
    if not feature.values:
        yield from ((("", "", value_id) for value_id in ids) if ids else [("", "", "")])
        return
    paired = len(ids) == len(feature.values)
    for index, value in enumerate(feature.values):
        yield value.text, value.language, ids[index] if paired else (ids[0] if len(ids) == 1 else "")


def _in(texts: tuple[Localised, ...], language: str) -> str:
    """The texts in a language (`de` means `deu` and `ger` too), else those without one, else the first."""
    wanted = {"de": ("de", "ge"), "en": ("en",)}.get(language[:2].lower(), (language[:2].lower(),))
    own = [text.text for text in texts if language and text.language[:2].lower() in wanted]
    plain = [text.text for text in texts if not text.language]
    return " ".join(own or plain or [text.text for text in texts[:1]])

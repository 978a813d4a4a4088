"""What an extractor reads from one file: a stream of items in reading order, never the whole of a large file.

Extractors yield items; `parts` groups them into `Extraction`s of a bounded size. The grouping depends on the items
alone, so the same file gives the same parts on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

BlockKind = Literal["heading", "paragraph", "table", "list", "product"]
Rows = tuple[tuple[str, ...], ...]

PART_ITEMS = 512
PART_CHARS = 1_000_000
PART_BYTES = 8 * 2**20


class _Value(Struct, frozen=True, array_like=True, gc=False):
    """Immutable, and on the wire the list of its values: made in a twentieth and sent in a sixth of the time that a
    frozen dataclass takes. Nothing in it leads back to it, so the collector of cycles need not know it."""


class About(_Value, frozen=True):
    """What is known of the document as a whole; later ones complete earlier ones. `pages` is 0 where there are none,
    `dated` the moment from which it is by its own account (`extract.dates`)."""

    title: str = ""
    language: str = ""
    pages: int = 0
    dated: str = ""


class Block(_Value, frozen=True, tag=True):
    """A piece of running text. `rows` holds a table's cells, its first `header_rows` rows being the header.

    `level` is a heading's depth (1 is the outermost). `page` is 1-based, 0 where the format has no pages; a
    spreadsheet's sheets count as pages. `source` names the attachment that holds the block, '' for the file itself.
    """

    kind: BlockKind
    text: str
    level: int = 0
    page: int = 0
    rows: Rows = ()
    header_rows: int = 0
    source: str = ""
    ocr: bool = False


class Scan(_Value, frozen=True, tag=True):
    """A page whose text is in an image: a PNG for OCR, standing where its text will stand.

    `stamped`: a few words of its own stand before it, so where there is no OCR at all the page is not without text.
    """

    png: bytes
    page: int
    source: str = ""
    stamped: bool = False


class Localised(_Value, frozen=True):
    """A text and its language as the catalogue names it (`deu`), '' where it names none."""

    text: str
    language: str = ""


class Feature(_Value, frozen=True):
    """One feature of a product in a classification system (ETIM, ECLASS or the supplier's own).

    `identifier` and `parent` are the catalogue's own numbers by which features nest (FID, FPARENT_ID); `decimal` is the
    decimal sign of its values, `,` or `.`, where that is known, `?` where either may be.
    """

    system: str = ""
    group: str = ""
    feature_id: str = ""
    names: tuple[Localised, ...] = ()
    values: tuple[Localised, ...] = ()
    value_ids: tuple[str, ...] = ()
    unit: str = ""
    order: str = ""
    identifier: str = ""
    parent: str = ""
    description: str = ""
    decimal: str = ""

    @property
    def name(self) -> str:
        """The first name, else the feature's id."""
        return self.names[0].text if self.names else self.feature_id


class Price(_Value, frozen=True):
    """One price. `amount` is as written, with a decimal point; None where the catalogue states none."""

    amount: str | None
    currency: str = ""
    kind: str = ""
    lower_bound: str = ""
    quantity: str = ""
    unit: str = ""
    factor: str = ""
    tax: str = ""
    valid_from: str = ""
    valid_to: str = ""
    territories: tuple[str, ...] = ()


class Media(_Value, frozen=True):
    """A reference to a picture or document; the file itself is not opened."""

    source: str
    media_type: str = ""
    purpose: str = ""
    description: str = ""


class Reference(_Value, frozen=True):
    """A product's relation to another one, by article number (`accessories`, `similar`, …)."""

    kind: str
    article_number: str


class Classification(_Value, frozen=True):
    """A product's place in a classification system. `name` is the group's, '' where the catalogue does not tell it."""

    system: str
    group: str
    name: str = ""


class Product(_Value, frozen=True, tag=True):
    """A product or article. What a catalogue says beyond the named fields stands in `properties` (path, value).
    `language` is that of the list (`de` or `en`), '' where that is not known."""

    article_number: str
    names: tuple[Localised, ...] = ()
    descriptions: tuple[Localised, ...] = ()
    keywords: tuple[Localised, ...] = ()
    transaction: str = "new"
    mode: str = ""
    supplier_id: str = ""
    supplier_name: str = ""
    gtin: str = ""
    manufacturer: str = ""
    manufacturer_number: str = ""
    type_name: str = ""
    order_unit: str = ""
    classifications: tuple[Classification, ...] = ()
    features: tuple[Feature, ...] = ()
    prices: tuple[Price, ...] = ()
    media: tuple[Media, ...] = ()
    references: tuple[Reference, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    page: int = 0
    source: str = ""
    language: str = ""

    @property
    def name(self) -> str:
        """The first name, else the article number."""
        return self.names[0].text if self.names else self.article_number


class Group(_Value, frozen=True):
    """A group of a catalogue's structure or of a classification system."""

    identifier: str
    name: str
    system: str = ""
    parent: str = ""


class Relation(_Value, frozen=True):
    """What a catalogue says of an article outside of its product: `member` of a group of the catalogue's structure, or
    `deleted` from the catalogues of a supplier."""

    article_number: str
    kind: Literal["member", "deleted"]
    target: str


class Attachment(_Value, frozen=True):
    """A file found inside another one, and what became of it: `code` is '' where it was read."""

    name: str
    media_type: str
    size: int
    code: str = ""
    reason: str = ""


Item = About | Block | Scan | Product | Group | Relation | Attachment


class Extraction(_Value, frozen=True):
    """A file's content, or one part of it: the parts of a file, in order, are its whole content.

    `flow` holds blocks, scans and products in reading order; the other fields hold what has no place in running text.
    """

    title: str = ""
    language: str = ""
    pages: int = 0
    dated: str = ""
    flow: tuple[Block | Scan | Product, ...] = ()
    groups: tuple[Group, ...] = ()
    relations: tuple[Relation, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(item for item in self.flow if isinstance(item, Block))

    @property
    def products(self) -> tuple[Product, ...]:
        return tuple(item for item in self.flow if isinstance(item, Product))

    @property
    def scans(self) -> tuple[Scan, ...]:
        return tuple(item for item in self.flow if isinstance(item, Scan))


@dataclass(slots=True)
class _Draft:
    about: About = field(default_factory=About)
    flow: list[Block | Scan | Product] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    items: int = 0
    chars: int = 0
    size: int = 0

    def add(self, item: Item) -> None:
        self.items += 1
        match item:
            case About():
                self.about = _completed(self.about, item)
            case Group():
                self.groups.append(item)
            case Relation():
                self.relations.append(item)
            case Attachment():
                self.attachments.append(item)
            case _:
                self.flow.append(item)
                self.chars += len(item.text) if isinstance(item, Block) else 0
                self.size += len(item.png) if isinstance(item, Scan) else 0
                self.items += len(item.features) // 4 if isinstance(item, Product) else 0

    @property
    def full(self) -> bool:
        return self.items >= PART_ITEMS or self.chars >= PART_CHARS or self.size >= PART_BYTES

    def finish(self) -> Extraction:
        return Extraction(
            title=self.about.title,
            language=self.about.language,
            pages=self.about.pages,
            dated=self.about.dated,
            flow=tuple(self.flow),
            groups=tuple(self.groups),
            relations=tuple(self.relations),
            attachments=tuple(self.attachments),
        )


def parts(items: Iterable[Item]) -> Iterator[Extraction]:
    """The items grouped into parts of a bounded size; at least one part, even of nothing."""
    draft, given = _Draft(), False
    for item in items:
        draft.add(item)
        if draft.full:
            yield draft.finish()
            draft, given = _Draft(about=draft.about), True
    if draft.items or not given:
        yield draft.finish()


def joined(extractions: Iterable[Extraction]) -> Extraction:
    """All parts of a file as one extraction; for files that are known to be small."""
    whole = _Draft()
    for part in extractions:
        whole.add(About(part.title, part.language, part.pages, part.dated))
        for item in (*part.flow, *part.groups, *part.relations, *part.attachments):
            whole.add(item)
    return whole.finish()


def _completed(known: About, more: About) -> About:
    return replace(
        known,
        title=known.title or more.title,
        language=known.language or more.language,
        pages=max(known.pages, more.pages),
        dated=known.dated or more.dated,
    )

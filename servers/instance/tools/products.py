"""Tools over the dataset's products: exports in the trade's formats, classes, products by class."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from servers.instance.products.bmecat import Head
from servers.instance.products.classes import Candidate, Classes, ProductClass
from servers.instance.products.conditions import Comparison, Condition
from servers.instance.products.export import MEDIA_TYPES, Format
from servers.instance.products.finding import Reason, Told
from servers.instance.search import Library
from shared.answers import fitting
from shared.contracts.model import Contract
from shared.ids import Digest

SCOPE = "dataset:read"
PART_BYTES = 32 * 1024
MAX_PART_BYTES = 256 * 1024
EXPORT_DEADLINE_S = 300.0
NEIGHBOURS = 25
NAMED = 60
TEXT_CHARS = 500
BMECAT_SOURCE = "BMEcat 2005 (BME e.V.), T_NEW_CATALOG; subset as in bmecat_2005_subset.xsd"
SOURCES: dict[Format, str] = {
    "bmecat": BMECAT_SOURCE,
    "csv": "RFC 4180, separated by semicolons; ' before texts that a spreadsheet would take for formulas",
    "json": "JSON Schema of ArticleRecord",
}

_PRICE = re.compile("preis|price|kosten|cost", re.IGNORECASE)

Start = Annotated[int, Field(ge=0, le=2**40, description="next_start of the answer before.")]
Limit = Annotated[int, Field(ge=1, le=100)]
System = Annotated[
    str | None, Field(max_length=80, description="Such as ETIM-9.0, or ETIM for each edition; none: every system.")
]
ClassId = Annotated[
    str, Field(min_length=1, max_length=60, description="Such as EC000897 or 27-14-11-20; list_classes names them.")
]


class ExportPart(Contract):
    """A part of an exported file: join the texts of all parts. `digest` and `size_bytes` are of the whole file."""

    format: Format
    media_type: str
    digest: Digest
    size_bytes: int
    articles: int
    merged: int = Field(description="Articles that several documents name, put together.")
    adjusted: int = Field(
        description="Articles with a text that had to be cut, or a price, medium or reference that had to be left out."
    )
    left_out: dict[str, int] = Field(description="Why articles are not in the file, and how many.")
    source: str = Field(description="The published format that the file follows.")
    text: str
    next_start: int | None


class ClassListed(Contract):
    """A class of a classification and how many of the dataset's products are in it."""

    system: str
    class_id: str
    name: str = Field(description="Empty where no catalogue of the dataset tells it.")
    products: int


class ClassList(Contract):
    """Classes in the order of their ids; ask again with start=next_start for more."""

    classes: list[ClassListed]
    next_start: int | None
    note: str = Field("", description="Where no class is found: what there is.")


class FeatureCondition(Contract):
    """What a feature must be. `feature` is its name or its id, such as EF000227; none: any feature or the product's own
    name and description, for values that say what they are (`IP67`, `24 V`).

    A range (`10...30 V DC`) equals each value and range in it, and is at least what its end is. Of a list
    (`IP67, IP69K`) one is enough. Grades (`IP65`, `DN 20`) are compared too, of IP each digit.
    """

    feature: Annotated[str | None, StringConstraints(min_length=1, max_length=200)] = None
    comparison: Comparison = "equals"
    value: Annotated[
        str,
        StringConstraints(min_length=1, max_length=200),
        Field(description="A number with its unit, a range, or a text."),
    ]


class FeatureMet(Contract):
    """What meets a condition, as it is written, and the document that says it."""

    feature: str
    value: str
    unit: str
    document_id: str


class ProductFound(Contract):
    """A product, and the document that it stands in."""

    article_number: str
    name: str
    manufacturer: str
    gtin: str
    system: str
    class_id: str
    document_id: str = Field(description="The source to cite; get_document reads it.")
    page: int | None
    deleted_by: str = Field(description="The document, an update, that takes the product back; empty where none does.")
    met: list[FeatureMet] = Field(
        default_factory=list, description="What meets each condition, in their order; another document may say it."
    )


class ProductList(Contract):
    """Products in the order of their article numbers; ask again with start=next_start for more."""

    products: list[ProductFound]
    next_start: int | None
    note: str = Field("", description="Where nothing is found: what there is of each condition.")


class ClassCandidate(Contract):
    """A class that the article may belong to, and the dataset's products that speak for it.

    `share` is the part of all similarity that they have, from 0 to 1: a vote of neighbours, no probability.
    """

    product_class: ClassListed
    share: float
    evidence: list[ProductFound]


class Classified(Contract):
    """Candidates, the likeliest first; none where no product like it has a class."""

    candidates: list[ClassCandidate]
    note: str


def register(server: Any, library: Callable[[], Library]) -> None:
    """Offers the tools on `server`; `library()` is the opened dataset."""

    async def export_products(
        format: Format,
        start: Start = 0,
        part_bytes: Annotated[
            int,
            Field(
                ge=1024, le=MAX_PART_BYTES, description="The default suits an agent; a program may take more at once."
            ),
        ] = PART_BYTES,
        document_id: Annotated[str | None, Field(max_length=900, description="Only this document's products.")] = None,
        order_unit: Annotated[
            str | None,
            Field(pattern=r"^[A-Z0-9]{2,3}$", description="For BMEcat, where a catalogue names none; C62 is a piece."),
        ] = None,
        buyer: Annotated[str | None, Field(min_length=1, max_length=50, description="For BMEcat's header.")] = None,
        version: Annotated[str, Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}$")] = "1.0",
        language: Annotated[str, Field(pattern=r"^[a-z]{3}$", description="ISO 639-2, such as deu.")] = "deu",
    ) -> ExportPart:
        """Export the products as BMEcat 2005, CSV or JSON, in parts. The same dataset always gives the same bytes.

        Use it to hand the catalogue to a shop or a trading partner; call it until next_start is null and join the
        texts. An article that several documents name is one, of a supplier's BMEcat catalogues with what the newest
        says. Articles that the format cannot hold are left out and counted with the reason.
        """
        held = library()
        head = Head(
            catalogue_id=held.dataset_digest.removeprefix("sha256:")[:16],
            supplier=held.config.company_name,
            buyer=buyer or held.config.company_name,
            version=version,
            language=language,
            order_unit=order_unit,
        )
        export, text, following = await held.products.part(format, head, document_id, start, part_bytes)
        return ExportPart(
            format=format,
            media_type=MEDIA_TYPES[format],
            digest=export.digest,
            size_bytes=export.size,
            articles=export.articles,
            merged=export.merged,
            adjusted=export.adjusted,
            left_out=dict(export.left_out),
            source=SOURCES[format],
            text=text,
            next_start=following,
        )

    async def list_classes(
        query: Annotated[str, Field(max_length=200, description="Part of a system, an id or a name.")] = "",
        start: Start = 0,
        limit: Limit = 50,
    ) -> ClassList:
        """List the classes (ETIM, ECLASS, …) that the dataset's products are in, with their counts.

        Use it before find_products, or to see how well the catalogue is classified.
        """
        known = await library().products.classes()
        found, following = known.listed(query, start, limit)
        classes = [_class(each) for each in found]
        shown = fitting(classes)
        if len(shown) < len(classes):
            following = start + len(shown)
        return ClassList(classes=shown, next_start=following, note="" if found or start else _no_class(known.systems()))

    async def find_products(
        class_id: ClassId | None = None,
        system: System = None,
        conditions: Annotated[list[FeatureCondition], Field(max_length=5)] = [],  # noqa: B006
        start: Start = 0,
        limit: Limit = 25,
    ) -> ProductList:
        """Find products whose features meet every condition, of a class or of all, each with the document to cite.

        Use it for questions such as which circuit breakers have at least 16 A, or what has IP67 and 24 V. It knows the
        features of catalogues and tables; what running text says, search finds. `met` quotes the value that met each
        condition: see there whether a range or another word is meant. For prices, and for what products are not, use
        query_table.
        """
        classes = await library().products.classes()
        wanted = [Condition(each.feature, each.comparison, each.value) for each in conditions]
        rows, following = await asyncio.to_thread(classes.products, system, class_id, wanted, start, limit)
        products = [_product(row) for row in rows]
        shown = fitting(products)
        if len(shown) < len(products):
            following = start + len(shown)
        note = ""
        if not rows and not start:
            of = "here" if class_id is None else "of this class"
            note = _why(await asyncio.to_thread(classes.reasons, system, class_id, wanted), of)
        return ProductList(products=shown, next_start=following, note=note)

    async def classify_product(
        text: Annotated[str, Field(min_length=1, max_length=1000, description="Name, description, main features.")],
        system: System = None,
    ) -> Classified:
        """Suggest the class of an article by the dataset's products that are most like it, and show which ones.

        Use it for articles without a class; a person confirms the choice. It knows the classes that the dataset has.
        """
        held = library()
        classes = await held.products.classes()
        found = classes.classify(await held.neighbours(text, NEIGHBOURS), system)
        note = "" if found else f"No product like it has such a class. {_no_class(classes.systems())}"
        return Classified(candidates=[_candidate(each, classes) for each in found[:3]], note=note)

    titles = {
        export_products: "Export products",
        list_classes: "List product classes",
        find_products: "Find products by features",
        classify_product: "Classify an article",
    }
    for tool, title in titles.items():
        deadline = EXPORT_DEADLINE_S if tool is export_products else None
        server.tool(tool, scope=SCOPE, title=title, read_only=True, idempotent=True, deadline_s=deadline)


def _no_class(systems: list[str]) -> str:
    if not systems:
        return "No product of this dataset has a class: search and query_table find it by its name."
    named = ", ".join(each[:80] for each in systems[:NAMED])
    return (
        f"Classes here are of {named}. Names are known only where a catalogue tells them: look for an id, list all "
        "without a query, or let classify_product suggest one."
    )


def _why(reasons: list[Reason], of: str) -> str:
    told = [_reason(each, of) for each in reasons]
    prices = "Prices are no features: query_table has them in the table prices."
    asked = any(not each.known or _PRICE.search(each.condition.feature or "") for each in reasons)
    elsewhere = "Article numbers and what running text says are no features: search finds them."
    unnamed = any(each.condition.feature is None and not each.products for each in reasons)
    return " ".join([*told, *([prices] if asked else []), *([elsewhere] if unnamed else [])])


def _reason(reason: Reason, of: str) -> str:
    more = "; …" if len(reason.others) > NAMED else ""
    others = "; ".join(each[:60] for each in reason.others[:NAMED]) + more
    asked = reason.condition
    if not reason.known:
        return f"No product {of} has the feature {asked.feature}. Their features: {others or 'none'}."
    said = f"{asked.feature or 'Any feature or text'} {asked.comparison.replace('_', ' ')} {asked.value}"
    return f"{said} is met by {reason.products}." + (f" Its values: {others}." if others else "")


def _class(found: ProductClass) -> ClassListed:
    return ClassListed(system=found.system, class_id=found.class_id, name=found.name, products=found.products)


def _product(told: Told) -> ProductFound:
    row = told.row
    return ProductFound(
        article_number=row.article_number,
        name=row.name[:TEXT_CHARS],
        manufacturer=row.manufacturer[:TEXT_CHARS],
        gtin=row.gtin,
        system=row.class_system,
        class_id=row.class_id,
        document_id=row.document_id,
        page=row.page or None,
        deleted_by=told.deleted_by,
        met=[
            FeatureMet(feature=met.feature, value=met.value[:TEXT_CHARS], unit=met.unit, document_id=document)
            for met, document in told.met
        ],
    )


def _candidate(found: Candidate, classes: Classes) -> ClassCandidate:
    rows = classes.rows([each.product_id for each in found.neighbours])
    evidence = [_product(rows[each.product_id]) for each in found.neighbours[:3]]
    return ClassCandidate(product_class=_class(found.product_class), share=round(found.share, 4), evidence=evidence)

"""BMEcat 1.2, 2005 and 2005+ontology, streamed: products leave memory as soon as they are read.

Elements: BMEcat 1.2 names ARTICLE and …_AID, BMEcat 2005 PRODUCT and …_PID; both are read by one table of names. What a
product says beyond the named fields is kept as `properties` (path, value), so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.bmecat_product import all_text, moment, product, text_of
from servers.cradle.processing.extract.detect import BMECAT
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.xml import Element, drop, events, local
from servers.cradle.processing.extraction import About, Block, Classification, Group, Item, Relation

GROUPS_KEPT = 100_000
"""Names of groups that are held while a catalogue is read; products of further ones are told by the code alone."""
_TRANSACTIONS = {"T_NEW_CATALOG": "new", "T_UPDATE_PRODUCTS": "update", "T_UPDATE_PRICES": "prices"}
_PRODUCTS = frozenset({"PRODUCT", "ARTICLE"})
_GROUPS = frozenset({"CATALOG_STRUCTURE", "CLASSIFICATION_GROUP"})
_NAMES_OF_GROUPS = frozenset({"GROUP_NAME", "CLASSIFICATION_GROUP_NAME"})
_PLACE_OF_GROUPS = frozenset({
    "GROUP_ID", "PARENT_ID", "GROUP_ORDER", "CLASSIFICATION_GROUP_ID", "CLASSIFICATION_GROUP_PARENT_ID",
    "CLASSIFICATION_GROUP_ORDER", "CLASSIFICATION_GROUP_FEATURE_TEMPLATES",
})  # fmt: skip
"""What of a group places it; templates say what its products may have, and each product says what it has."""
_MAPS = frozenset({"PRODUCT_TO_CATALOGGROUP_MAP", "ARTICLE_TO_CATALOGGROUP_MAP"})
_CONTAINERS = frozenset(
    {
        "BMECAT",
        *_TRANSACTIONS,
        "CLASSIFICATION_SYSTEM",
        "CLASSIFICATION_GROUPS",
        "CATALOG_GROUP_SYSTEM",
        "FEATURE_SYSTEM",
        "FEATURE_GROUP",
    }
)


class Bmecat:
    name = "bmecat"
    version = "9"
    media_types = frozenset({BMECAT})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The catalogue's head, then groups, products and what is said of articles in document order."""
        del inner
        yield from _Reader().items(file)


class _Reader:
    """Holds what products take from around them: transaction, supplier, currency, classification system."""

    def __init__(self) -> None:
        self._transaction = ""
        self._system = ""
        self._supplier = ("", "")
        self._currency = ""
        self._groups: dict[tuple[str, str], str] = {}

    def items(self, file: File) -> Iterator[Item]:
        whole: Element | None = None
        for event, element in events(file):
            name = local(element)
            if event == "start":
                self._transaction = _TRANSACTIONS.get(name, self._transaction)
                if whole is None and name not in _CONTAINERS:
                    whole = element
            elif element is whole:
                yield from self._read(name, element)
                drop(element)
                whole = None
            elif whole is None and name in ("CLASSIFICATION_SYSTEM", "CATALOG_GROUP_SYSTEM"):
                self._system = ""
                drop(element)
        if not self._transaction:
            raise Unreadable("unsupported_transaction", "The catalogue holds none of BMEcat's three transactions.")

    def _read(self, name: str, element: Element) -> Iterator[Item]:
        if name in _PRODUCTS:
            yield from self._product(element)
        elif name in _GROUPS:
            group = self._known(_group(element, self._system))
            yield group
            if lines := _said_of_group(element):
                yield Block("paragraph", "\n".join([f"{name}: {group.name or group.identifier}", *lines]))
        elif name in _MAPS:
            yield _membership(element)
        elif name == "HEADER":
            yield from self._header(element)
        elif name in ("CLASSIFICATION_SYSTEM_NAME", "GROUP_SYSTEM_ID"):
            self._system = squeezed(element.text or "")
        elif lines := all_text(element):
            yield Block("paragraph", "\n".join(lines))

    def _product(self, element: Element) -> Iterator[Item]:
        """A product to be sold; for one that the catalogue takes back its text, and that it is deleted."""
        found = product(element, self._transaction, self._supplier, self._currency)
        if found.mode.strip().lower() != "delete":
            yield replace(found, classifications=tuple(map(self._named, found.classifications)))
            return
        yield Block("paragraph", "\n".join([f"{local(element)}: mode delete", *all_text(element)]))
        if found.article_number:
            yield Relation(found.article_number, "deleted", found.supplier_name or found.supplier_id)

    def _known(self, group: Group) -> Group:
        """The group, whose name the products in it are told with: of a classification, as they name it."""
        if group.name and len(self._groups) < GROUPS_KEPT:
            self._groups[(group.system, group.identifier)] = group.name
        return group

    def _named(self, place: Classification) -> Classification:
        return replace(place, name=self._groups.get((place.system, place.group), ""))

    def _header(self, header: Element) -> Iterator[Item]:
        catalogue, supplier = _child(header, "CATALOG"), _child(header, "SUPPLIER")
        title, language, dated = "", "", ""
        if catalogue is not None:
            title, language = text_of(catalogue, "CATALOG_NAME"), text_of(catalogue, "LANGUAGE")
            dated = _generated(catalogue)
            self._currency = text_of(catalogue, "CURRENCY")
        if supplier is not None:
            self._supplier = (text_of(supplier, "SUPPLIER_ID"), text_of(supplier, "SUPPLIER_NAME"))
        yield About(title=title, language=language, dated=dated)
        if title:
            yield Block("heading", title, level=1)
        yield Block("paragraph", "\n".join(all_text(header)))


def _child(element: Element, name: str) -> Element | None:
    return next((child for child in element if local(child) == name), None)


def _generated(catalogue: Element) -> str:
    """When the catalogue was made: DATETIME of BMEcat 1.2, GENERATION_DATE of 2005."""
    found = [moment(each) for each in catalogue if local(each) == "DATETIME" and each.get("type") == "generation_date"]
    return dates.of_iso(next(iter(found), "") or text_of(catalogue, "GENERATION_DATE"))


def _group(element: Element, system: str) -> Group:
    parent = text_of(element, "PARENT_ID") or text_of(element, "CLASSIFICATION_GROUP_PARENT_ID")
    return Group(
        identifier=text_of(element, "GROUP_ID") or text_of(element, "CLASSIFICATION_GROUP_ID"),
        name=text_of(element, "GROUP_NAME") or text_of(element, "CLASSIFICATION_GROUP_NAME"),
        system=system,
        parent="" if parent == "0" else parent,
    )


def _said_of_group(element: Element) -> list[str]:
    """What a group says beyond its name and place: descriptions, keywords, its names in other languages."""
    names = [child for child in element if local(child) in _NAMES_OF_GROUPS]
    rest = (child for child in element if child not in names[:1] and local(child) not in _PLACE_OF_GROUPS)
    return [line for child in rest for line in all_text(child)]


def _membership(element: Element) -> Relation:
    number = text_of(element, "PROD_ID") or text_of(element, "ART_ID")
    return Relation(number, "member", text_of(element, "CATALOG_GROUP_ID"))

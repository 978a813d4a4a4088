"""Classes of a classification (ETIM, ECLASS, …) as the dataset's own products carry them, and products by class.

The systems' own class models are licensed by their publishers and not part of the platform: names come from the
dataset's catalogues where they tell them, and a new article is classified by its neighbours in the dataset.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from servers.instance.products.succession import Succession
from shared.dataset.rows import ProductRow, finite_number
from shared.dataset.words import folded
from shared.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

Comparison = Literal["equals", "at_least", "at_most"]

_MEASURE = re.compile(r"\s*([+-]?[\d.,]+)\s*([^\d\s.,]\S*)?\s*")
TABLES = ("documents", "products", "features", "groups", "relations")


@dataclass(frozen=True, slots=True)
class ProductClass:
    """A class, and how many products of the dataset are in it. `name` is '' where no catalogue tells it."""

    system: str
    class_id: str
    name: str
    products: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What a feature (by its name or its id in the system) must be."""

    feature: str
    comparison: Comparison
    value: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A product of the dataset that is like the one to be classified. `similarity` is the cosine of their passages."""

    product_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A class that neighbours are in. `share`: of all their similarity, the part of those in this class."""

    product_class: ProductClass
    share: float
    neighbours: tuple[Neighbour, ...]


class Classes:
    """The classes of one dataset.

    Args:
        tables: `TABLES`, each whole.
    """

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._products = tables["products"]
        self._features = tables["features"]
        self._succession = Succession(tables)
        names = {
            (row["system"], row["code"]): row["name"]
            for row in tables["groups"].select(["system", "code", "name"]).to_pylist()
            if row["name"] != row["code"]
        }
        columns = self._products.select(["product_id", "class_system", "class_id"]).to_pylist()
        members: dict[tuple[str, str], int] = defaultdict(int)
        self._class_of: dict[str, tuple[str, str]] = {}
        for row in columns:
            if row["class_id"]:
                key = (row["class_system"], row["class_id"])
                members[key] += 1
                self._class_of[row["product_id"]] = key
        self._classes = {key: ProductClass(*key, names.get(key, ""), count) for key, count in sorted(members.items())}

    def listed(self, query: str, start: int, limit: int) -> tuple[list[ProductClass], int | None]:
        """Classes whose system, id or name holds the query, in order, and where the next page starts."""
        wanted = query.casefold().strip()
        found = [
            each for each in self._classes.values() if wanted in f"{each.system} {each.class_id} {each.name}".casefold()
        ]
        return found[start : start + limit], start + limit if len(found) > start + limit else None

    def products(
        self, system: str | None, class_id: str, conditions: Sequence[Condition], start: int, limit: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Rows of the table of products that are in the class and meet every condition, in the order of their numbers.
        `deleted_by` beside them is the id of the document that takes the product back, '' where none does.

        Raises:
            NotFound: no product is in this class.
        """
        from pyarrow.dataset import field

        members = self._members(system, class_id)
        for condition in conditions:
            fitting = self._meeting(condition, members["product_id"].to_pylist())
            members = members.filter(field("product_id").isin(_ids(fitting)))
        ordered = members.sort_by([("article_number", "ascending"), ("product_id", "ascending")])
        found = self._told(ordered.slice(start, limit))
        return found, start + limit if ordered.num_rows > start + limit else None

    def unknown_features(
        self, system: str | None, class_id: str, conditions: Sequence[Condition]
    ) -> tuple[list[str], list[str]]:
        """Those features of the conditions that no product of the class has, and the names of all that they have.

        Raises:
            NotFound: no product is in this class.
        """
        from pyarrow.dataset import field

        members = self._members(system, class_id)["product_id"]
        rows = self._features.filter(field("product_id").isin(members)).select(["name", "feature_id"])
        names, ids = set(rows["name"].to_pylist()), set(rows["feature_id"].to_pylist())
        known = ids | set(map(folded, names))
        asked = dict.fromkeys(each.feature for each in conditions)
        return [each for each in asked if each not in known and folded(each) not in known], sorted(names)

    def _members(self, system: str | None, class_id: str) -> pa.Table:
        """The products of a class."""
        from pyarrow.dataset import field

        chosen = field("class_id") == class_id
        if system is not None:
            chosen = chosen & (field("class_system") == system)
        members = self._products.filter(chosen)
        if not members.num_rows:
            raise NotFound("No product of this dataset is in this class: list_classes names those there are.")
        return members

    def classify(self, neighbours: Sequence[Neighbour], system: str | None) -> list[Candidate]:
        """The classes of the neighbours, the likeliest first; those without a class or any similarity have no vote."""
        votes: dict[tuple[str, str], list[Neighbour]] = defaultdict(list)
        for each in (each for each in neighbours if each.similarity > 0):
            key = self._class_of.get(each.product_id)
            if key is not None and (system is None or key[0].casefold().startswith(system.casefold())):
                votes[key].append(each)
        total = sum(each.similarity for voters in votes.values() for each in voters)
        found = [
            Candidate(self._classes[key], sum(each.similarity for each in voters) / total, tuple(voters))
            for key, voters in votes.items()
        ]
        return sorted(found, key=lambda each: (-each.share, each.product_class.system, each.product_class.class_id))

    def rows(self, product_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of these products, as `products` gives them."""
        from pyarrow.dataset import field

        found = self._products.filter(field("product_id").isin(_ids(product_ids)))
        return {row["product_id"]: row for row in self._told(found)}

    def _told(self, products: pa.Table) -> list[dict[str, Any]]:
        return [{**row, "deleted_by": self._succession.deleted_by(ProductRow(**row))} for row in products.to_pylist()]

    def _meeting(self, condition: Condition, product_ids: list[str]) -> list[str]:
        """The ids, of these products, that meet a condition.

        Raises:
            InvalidInput: the value is no number where numbers are compared, or in a unit that the feature is not in.
        """
        from pyarrow.dataset import field

        among = self._features.filter(field("product_id").isin(_ids(product_ids)))
        wanted = folded(condition.feature)
        names = [name for name in among["name"].unique().to_pylist() if folded(name) == wanted]
        named = (field("feature_id") == condition.feature) | field("name").isin(_ids(names))
        rows = among.filter(named).select(["product_id", "value", "value_id", "number", "unit"]).to_pylist()
        fits = _same(condition.value) if condition.comparison == "equals" else _bounded(condition, rows)
        return [row["product_id"] for row in rows if fits(row)]


def _same(value: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a feature has the value: as text (`IP 66` is `IP66`), as the value's id, or as the same number."""
    number, unit = _measure(value)

    def fits(row: dict[str, Any]) -> bool:
        equal = number is not None and row["number"] == number and unit in ("", _bare(row["unit"]))
        return equal or value in (row["value"], row["value_id"]) or _bare(value) == _bare(row["value"])

    return fits


def _bounded(condition: Condition, rows: list[dict[str, Any]]) -> Callable[[dict[str, Any]], bool]:
    """Whether a feature's number is on the right side of the condition's, which may name the feature's unit."""
    bound, unit = _measure(condition.value)
    if bound is None:
        raise InvalidInput("at_least and at_most compare numbers: give one as `value`.", field="conditions")
    units = {row["unit"] for row in rows if row["number"] is not None}
    if unit and rows and unit not in set(map(_bare, units)):
        known = ", ".join(sorted(filter(None, units))) or "no unit"
        raise InvalidInput(f"{condition.feature} is in {known}: give the value in it.", field="conditions")

    def fits(row: dict[str, Any]) -> bool:
        if row["number"] is None or unit not in ("", _bare(row["unit"])):
            return False
        return row["number"] >= bound if condition.comparison == "at_least" else row["number"] <= bound

    return fits


def _measure(value: str) -> tuple[float | None, str]:
    """A number and its unit, '' where none is named; None where the value is no number."""
    found = _MEASURE.fullmatch(value)
    return (finite_number(found[1]), _bare(found[2] or "")) if found else (None, "")


def _bare(text: str) -> str:
    return "".join(folded(text).split())


def _ids(product_ids: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(product_ids), pa.string())  # typed: an empty list has no type of its own

"""Classes of a classification (ETIM, ECLASS, …) as the dataset's own products carry them, and products by class.

The systems' own class models are licensed by their publishers and not part of the platform: names come from the
dataset's catalogues where they tell them, and a new article is classified by its neighbours in the dataset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servers.instance.products.conditions import Condition
from servers.instance.products.finding import Finder, Reason, Told
from servers.instance.products.spelling import one_spelling
from servers.instance.products.succession import Succession
from shared.dataset.rows import ProductRow
from shared.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("documents", "products", "features", "groups", "relations")


@dataclass(frozen=True, slots=True)
class ProductClass:
    """A class, and how many products of the dataset are in it. `name` is '' where no catalogue tells it."""

    system: str
    class_id: str
    name: str
    products: int


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
        tables = one_spelling(tables)
        self._products = tables["products"]
        self._finder = Finder(tables["products"], tables["features"], Succession(tables))
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

    def systems(self) -> list[str]:
        """The systems that products are classified in."""
        return sorted({system for system, _ in self._classes})

    def products(
        self, system: str | None, class_id: str | None, conditions: Sequence[Condition], start: int, limit: int
    ) -> tuple[list[Told], int | None]:
        """Products that are in the class and meet every condition, in the order of their numbers. Without a class each
        article is given once.

        Raises:
            NotFound: no product is in this class.
            InvalidInput: there is neither a class nor a condition, or a system without a class.
        """
        if class_id is None and not conditions:
            raise InvalidInput("Give a class_id, conditions or both: every product is in the table products.")
        if class_id is None and system is not None:
            raise InvalidInput(
                "A system is that of a class: give its class_id too, or leave system out.", field="system"
            )
        return self._finder.found(self._members(system, class_id), conditions, start, limit)

    def reasons(self, system: str | None, class_id: str | None, conditions: Sequence[Condition]) -> list[Reason]:
        """Of each condition, why `products` may have found nothing."""
        return list(self._finder.reasons(self._members(system, class_id), conditions))

    def _members(self, system: str | None, class_id: str | None) -> pa.Table | None:
        """The products of a class, None without one."""
        from pyarrow.dataset import field

        if class_id is None:
            return None
        wanted = _plain(class_id)
        keys = [key for key in self._classes if _plain(key[1]) == wanted]
        if chosen := [key for key in keys if _of(key[0], system)]:
            ids, systems = _ids([each for _, each in chosen]), _ids([each for each, _ in chosen])
            return self._products.filter(field("class_id").isin(ids) & field("class_system").isin(systems))
        if keys:
            raise NotFound(f"This class is one of {', '.join(key[0] for key in keys)}: name it or leave system out.")
        known = "list_classes names those there are; without a class_id every product is looked at"
        raise NotFound(f"No product of this dataset is in this class: {known}.")

    def classify(self, neighbours: Sequence[Neighbour], system: str | None) -> list[Candidate]:
        """The classes of the neighbours, the likeliest first; those without a class or any similarity have no vote."""
        votes: dict[tuple[str, str], list[Neighbour]] = defaultdict(list)
        for each in (each for each in neighbours if each.similarity > 0):
            key = self._class_of.get(each.product_id)
            if key is not None and _of(key[0], system):
                votes[key].append(each)
        total = sum(each.similarity for voters in votes.values() for each in voters)
        found = [
            Candidate(self._classes[key], sum(each.similarity for each in voters) / total, tuple(voters))
            for key, voters in votes.items()
        ]
        return sorted(found, key=lambda each: (-each.share, each.product_class.system, each.product_class.class_id))

    def rows(self, product_ids: Sequence[str]) -> dict[str, Told]:
        """These products by their ids."""
        from pyarrow.dataset import field

        found = self._products.filter(field("product_id").isin(_ids(product_ids)))
        return {row["product_id"]: self._finder.told(ProductRow(**row)) for row in found.to_pylist()}


def _of(system: str, asked: str | None) -> bool:
    """Whether a system is the one that is asked for: `ETIM` is ETIM-9.0 too."""
    return asked is None or system.casefold().startswith(asked.casefold())


def _plain(class_id: str) -> str:
    """A class id as it is compared: ECLASS 27-37-18-19 is 27371819."""
    return class_id.casefold().replace("-", "").strip()


def _ids(names: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(names), pa.string())  # typed: an empty list has no type of its own

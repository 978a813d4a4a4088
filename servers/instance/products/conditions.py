"""Conditions on products: how a value that is asked for is compared with what a catalogue has written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from servers.instance.products.units import in_basic, unit_said
from servers.instance.products.values import Size, apart, either, grade, is_same, listed, saying, size, sizes
from shared.dataset.words import folded
from shared.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

Comparison = Literal["equals", "at_least", "at_most"]
Fits = Callable[[Mapping[str, Any]], bool]

_BEHIND = re.compile(r"\s*[(\[].*$")  # what stands in brackets behind a name: `Schutzart (IP)`
_HEADINGS = re.compile(  # of several columns of a table, which its reader puts before the names of each
    r"^(?:(?:(?:technische|elektrische|mechanische|allgemeine|lichttechnische|physikalische|technical|electrical|mechanical"
    r"|general) )?(?:daten|data|merkmale|eigenschaften|kennwerte|properties)|abmessungen|masse|dimensions) "
)
_NORMS = re.compile(  # CAT 6/7
    r"\b(?:(?:DIN|EN|ISO|IEC|VDE|UL|ANSI|ASTM|RAL|AWG|PG|Cat)[ .-]?)+\d+(?:/\d+)*", re.IGNORECASE
)
_SAID = ["value", "value_id", "number", "unit"]
ALIKE = 5
"""Letters at the beginning or end that are the same in names of features that may be meant."""
_TEXTS = ("name", "description", "keywords", "type_name")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a feature (by its name or its id in the system) must be; None: any feature, or the product's own texts."""

    feature: str | None
    comparison: Comparison
    value: str


@dataclass(frozen=True, slots=True)
class Met:
    """What of a product meets a condition: a feature's value, or the column of the products that says it."""

    feature: str
    value: str
    unit: str = ""


def meeting(condition: Condition, features: pa.Table, products: pa.Table) -> dict[str, Met]:
    """Id of each product that meets a condition → by what.

    Args:
        features: those among which to look.
        products: those in whose texts to look, where no feature is named.

    Raises:
        InvalidInput: the value is no number where numbers are compared, is in a unit that the feature is not in, or may
            be two numbers (`20.000`).
    """
    import pyarrow as pa

    among = features if condition.feature is None else features.filter(_named(condition.feature, features))
    kinds = among.group_by([*_SAID, "name"], use_threads=False).aggregate([("product_id", "list")])
    rows = kinds.select([*_SAID, "name"]).to_pylist()
    fits = _fits(condition, rows)
    chosen = kinds.filter(pa.array([fits(row) for row in rows], pa.bool_()))
    found: dict[str, Met] = {}
    for batch in chosen.to_batches(max_chunksize=1000):
        for said in batch.to_pylist():
            for key in said["product_id_list"]:
                found.setdefault(key, Met(said["name"], said["value"] or said["value_id"], said["unit"]))
    if condition.feature is None and condition.comparison == "equals":
        found = _said(condition.value, products) | found
    if not found:  # of `equals` too: it may only have been the same text
        _refuse_either(condition.value)
    return found


def measured(features: pa.Table) -> pa.Table:
    """The features, with the unit that stands in their name alone in the column of units: `Gewicht kg`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = features["name"].combine_chunks().dictionary_encode()
    units = pa.array([unit_said(name)[1] for name in names.dictionary.to_pylist()], pa.string())
    if not any(units.to_pylist()):
        return features
    empty = pc.call_function("equal", [features["unit"], pa.scalar("")])
    filled = pc.call_function("if_else", [empty, units.take(names.indices), features["unit"]])
    return features.set_column(features.schema.get_field_index("unit"), "unit", filled)


def names_of(features: pa.Table, wanted: str) -> list[str]:
    """The names of the features, those first that hold what is wanted or stand in it, then those that begin or end
    like it: `Bemessungsstrom` for `Nennstrom`."""
    plain = folded(wanted)

    def unlike(name: str) -> int:
        known = folded(name)
        if plain in known or known in plain:
            return 0
        return 1 if known[:ALIKE] == plain[:ALIKE] or known[-ALIKE:] == plain[-ALIKE:] else 2

    return sorted(filter(None, features["name"].unique().to_pylist()), key=lambda name: (unlike(name), name))


def values_of(features: pa.Table, feature: str) -> list[str]:
    """The values of a feature with their units, in order; none where no product has it."""
    rows = features.filter(_named(feature, features)).group_by(_SAID, use_threads=False).aggregate([]).to_pylist()
    rows.sort(key=lambda row: (row["number"] is None, row["number"] or 0.0, row["value"]))
    return list(dict.fromkeys(f"{row['value'] or row['value_id']} {row['unit']}".strip() for row in rows))


def _named(feature: str, features: pa.Table) -> Any:
    """Which features are meant: by id or name, but for a heading before it (`Elektrische Daten Leistung`) where no
    product has two of these, else by the name but for what is in brackets behind it, or its unit."""
    import pyarrow as pa
    from pyarrow.dataset import field

    wanted, known = folded(feature), {name: folded(name) for name in features["name"].unique().to_pylist()}
    bare = {name: _HEADINGS.sub("", plain) for name, plain in known.items()}
    exact = [name for name, plain in known.items() if plain == wanted]
    names = [name for name, plain in known.items() if wanted in (plain, bare[name])]
    if len(names) > len(exact) and not _are_one(names, features):
        names = exact
    elif not names:
        names = [name for name, plain in bare.items() if _BEHIND.sub("", plain) == wanted]
        names = names or [name for name in known if _HEADINGS.sub("", folded(unit_said(name)[0])) == wanted]
    return (field("feature_id") == feature) | field("name").isin(pa.array(names, pa.string()))


def _are_one(names: Sequence[str], features: pa.Table) -> bool:
    """Whether these may be one feature: no product has two of them, its own length and its housing's."""
    import pyarrow as pa
    from pyarrow.dataset import field

    said = features.filter(field("name").isin(pa.array(names, pa.string())))
    pairs = said.group_by(["product_id", "name"], use_threads=False).aggregate([])
    return len(pairs["product_id"].unique()) == len(pairs)


def _fits(condition: Condition, rows: Sequence[Mapping[str, Any]]) -> Fits:
    if condition.comparison == "equals":
        return _same(condition)
    _refuse_either(condition.value)
    sign, wanted = 1 if condition.comparison == "at_least" else -1, grade(condition.value)
    if wanted is not None:
        return _graded(*wanted, sign)
    asked = size(condition.value)
    if asked is None or asked.low != asked.high:
        raise InvalidInput(
            "at_least and at_most compare numbers, and grades such as IP65: give one as `value`.", field="conditions"
        )
    if condition.feature is None and not asked.unit:
        raise _nameless(condition.value)
    if condition.feature is not None and rows:
        _require_unit(condition.feature, asked.unit, rows)
    return lambda row: any(each.reaches(asked, sign) and _agrees(each, row, asked) for each in _sizes(row))


def _require_unit(feature: str, unit: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises `InvalidInput` where a number in this unit, '' for none, cannot be compared with those of the rows."""
    found = [each for row in rows for each in _sizes(row)]
    if not found:  # no number here is one for certain: its values are told
        return
    units = {each.unit for each in found} - {""}
    known = ", ".join(sorted(units))
    if unit and in_basic(1, unit)[1] not in {in_basic(1, each)[1] for each in units}:
        told = f"is in {known}: give the value in it" if known else "has no unit here: give the number alone"
        raise InvalidInput(f"{feature} {told}.", field="conditions")
    if not unit and len({in_basic(1, each) for each in units}) > 1:
        raise InvalidInput(f"{feature} is in {known}: give the value with its unit.", field="conditions")


def _graded(name: str, asked: tuple[int, ...], sign: int) -> Fits:
    """Whether a grade of the same name is at least or at most the one that is asked for, in each of its digits."""

    def fits(row: Mapping[str, Any]) -> bool:
        said = [found for part in listed(row["value"]) if (found := grade(part)) is not None]
        same = [numbers for known, numbers in said if known == name and len(numbers) == len(asked)]
        return any(all(sign * one >= sign * two for one, two in zip(each, asked, strict=True)) for each in same)

    return fits


def _same(condition: Condition) -> Fits:
    """Whether a feature has the value: as text (`IP 66` is `IP66`), also one of a list or among other words (`24 V DC`,
    `Edelstahl V4A`); as the value's id; as the same number, or in a range that holds it. Of whatever name, a value that
    is a name and a number may be in the feature's name and its value: AWG 22."""
    value, asked, nameless = condition.value, size(condition.value), condition.feature is None
    if nameless and asked is not None and not asked.unit:
        raise _nameless(value)
    within = saying(value)
    named = nameless and grade(value) is not None

    def fits(row: Mapping[str, Any]) -> bool:
        if value == row["value_id"] or any(is_same(value, part) for part in listed(row["value"])):
            return True
        known = _sizes(row)
        if asked is not None and any(each.holds(asked) and _agrees(each, row, asked) for each in known):
            return True
        if named and within(f"{row['name']} {row['value']}"):
            return True
        return (asked is None or bool(asked.unit and not known)) and within(f"{row['value']} {row['unit']}")

    return fits


def _agrees(found: Size, row: Mapping[str, Any], asked: Size) -> bool:
    """Whether a value says what stands behind the number that is asked for, the AC of `24 V AC`: behind this number of
    it, anywhere where nothing stands there."""
    return not asked.rest or saying(asked.rest)(found.rest or f"{row['value']} {row['unit']}")


def _sizes(row: Mapping[str, Any]) -> list[Size]:
    return sizes(row["value"], row["number"], row["unit"])


def _said(value: str, products: pa.Table) -> dict[str, Met]:
    """The products in whose own texts the value stands."""
    import pyarrow.compute as pc

    within, figures = saying(value), max(re.findall("[0-9]+", value), key=len, default="")
    found: dict[str, Met] = {}
    for column in _TEXTS:
        likely = products.filter(
            pc.call_function("match_substring", [products[column]], pc.MatchSubstringOptions(figures))
        )
        for key, text in zip(likely["product_id"].to_pylist(), likely[column].to_pylist(), strict=True):
            if key not in found and (within(text) or ("/" in text and within(apart(_NORMS.sub("", text))))):
                found[key] = Met(column, text[:200])
    return found


def _refuse_either(value: str) -> None:
    """Raises `InvalidInput` where the number may be two: `20.000`."""
    if (found := either(value)) is not None:
        number, decimal, whole = found
        raise InvalidInput(f"{number} may be {decimal} or {whole}: write the one that is meant.", field="conditions")


def _nameless(value: str) -> InvalidInput:
    return InvalidInput(f"{value} may be of any feature: name the feature, or give the unit.", field="conditions")

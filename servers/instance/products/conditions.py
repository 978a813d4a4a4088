"""Conditions on products: how a value that is asked for is compared with what a catalogue has written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING, Any, Literal

from servers.instance.products.units import in_basic, unit_said
from shared.dataset.rows import finite_number, may_be_two
from shared.dataset.words import folded
from shared.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

Comparison = Literal["equals", "at_least", "at_most"]
Fits = Callable[[Mapping[str, Any]], bool]

_MEASURE = re.compile(r"\s*([+-]?[\d.,]+)\s*([^\d\s.,]\S*)?\s*")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:\.\d{3}){2,}|(?:,\d{3}){2,})")
_BEHIND = re.compile(r"\s*[(\[].*$")  # what stands in brackets behind a name: `Schutzart (IP)`
_PIECE = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d]+|[^\w\s]")
_SAID = ["value", "value_id", "number", "unit"]
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
    kinds = among.group_by(_SAID, use_threads=False).aggregate([("product_id", "list"), ("name", "list")])
    rows = kinds.select(_SAID).to_pylist()
    fits = _fits(condition, rows)
    chosen = kinds.filter(pa.array([fits(row) for row in rows], pa.bool_()))
    found: dict[str, Met] = {}
    for batch in chosen.to_batches(max_chunksize=1000):
        for said in batch.to_pylist():
            for key, name in zip(said["product_id_list"], said["name_list"], strict=True):
                if key not in found:
                    found[key] = Met(name, said["value"] or said["value_id"], said["unit"])
    if condition.feature is None and condition.comparison == "equals":
        found = _said(condition.value, products) | found
    if not found and _is_either(condition.value):  # of `equals` too: it may only have been the same text
        raise _either(condition.value)
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
    """The names of the features, those first that hold what is wanted or stand in it."""
    plain = folded(wanted)
    names = filter(None, features["name"].unique().to_pylist())
    return sorted(names, key=lambda name: (plain not in folded(name) and folded(name) not in plain, name))


def values_of(features: pa.Table, feature: str) -> list[str]:
    """The values of a feature with their units, in order; none where no product has it."""
    rows = features.filter(_named(feature, features)).group_by(_SAID, use_threads=False).aggregate([]).to_pylist()
    rows.sort(key=lambda row: (row["number"] is None, row["number"] or 0.0, row["value"]))
    return list(dict.fromkeys(f"{row['value'] or row['value_id']} {row['unit']}".strip() for row in rows))


def _named(feature: str, features: pa.Table) -> Any:
    """Which features are meant: by id or name, else by the name but for what is in brackets behind it, or its unit."""
    import pyarrow as pa
    from pyarrow.dataset import field

    wanted, known = folded(feature), features["name"].unique().to_pylist()
    names = [name for name in known if folded(name) == wanted]
    names = names or [name for name in known if folded(_BEHIND.sub("", name)) == wanted]
    names = names or [name for name in known if folded(unit_said(name)[0]) == wanted]
    return (field("feature_id") == feature) | field("name").isin(pa.array(names, pa.string()))


def _fits(condition: Condition, rows: Sequence[Mapping[str, Any]]) -> Fits:
    if condition.comparison == "equals":
        return _same(condition.value) if condition.feature is not None else _anywhere(condition.value)
    if _is_either(condition.value):
        raise _either(condition.value)
    asked, unit = measure(condition.value)
    if asked is None:
        raise InvalidInput("at_least and at_most compare numbers: give one as `value`.", field="conditions")
    if condition.feature is None and not unit:
        raise _nameless(condition.value)
    number, kind = in_basic(asked, unit)
    if condition.feature is not None and rows:
        _require_unit(condition.feature, unit, {each for row in rows if (each := _size(row)[1])})
    sign = 1 if condition.comparison == "at_least" else -1

    def fits(row: Mapping[str, Any]) -> bool:
        said, in_unit = _size(row)
        if said is None:
            return False
        if unit:
            said, of = in_basic(said, in_unit)
            return of == kind and (sign * said >= sign * number or isclose(said, number))
        return sign * said >= sign * asked

    return fits


def _require_unit(feature: str, unit: str, units: set[str]) -> None:
    """Raises `InvalidInput` where a number in this unit, '' for none, cannot be compared with those in `units`."""
    known = ", ".join(sorted(units))
    if unit and in_basic(1, unit)[1] not in {in_basic(1, each)[1] for each in units}:
        told = f"is in {known}: give the value in it" if known else "has no unit here: give the number alone"
        raise InvalidInput(f"{feature} {told}.", field="conditions")
    if not unit and len({in_basic(1, each) for each in units}) > 1:
        raise InvalidInput(f"{feature} is in {known}: give the value with its unit.", field="conditions")


def _same(value: str) -> Fits:
    """Whether a feature has the value: as text (`IP 66` is `IP66`), as the value's id, or as the same number; a number
    with its unit also among other words, `24 V` in `24 V DC`."""
    asked, unit = measure(value)
    number, kind = (0.0, "") if asked is None else in_basic(asked, unit)
    within = _words(value) if asked is not None and unit else None

    def fits(row: Mapping[str, Any]) -> bool:
        if value in (row["value"], row["value_id"]) or bare(value) == bare(row["value"]):
            return True
        said, in_unit = _size(row)
        if within is not None and (said is None or " " in in_unit):
            return within(f"{row['value']} {row['unit']}")
        if asked is None or said is None or not unit:
            return asked is not None and said == asked
        basic, of = in_basic(said, in_unit)
        return of == kind and isclose(basic, number)

    return fits


def _size(row: Mapping[str, Any]) -> tuple[float | None, str]:
    """A feature's number, which its value may hold with the unit, and the unit, both as they are written."""
    return (row["number"], row["unit"]) if row["number"] is not None else measure(row["value"])


def _anywhere(value: str) -> Fits:
    """Whether a feature, of whatever name, has the value or says it among other words (`24 V` in `24 V DC`)."""
    number, unit = measure(value)
    if number is not None and not unit:
        raise _nameless(value)
    same, within = _same(value), _words(value)
    return lambda row: same(row) or (row["number"] is None and within(f"{row['value']} {row['unit']}"))


def _said(value: str, products: pa.Table) -> dict[str, Met]:
    """The products in whose own texts the value stands."""
    import pyarrow.compute as pc

    within, figures = _words(value), max(re.findall("[0-9]+", value), key=len, default="")
    found: dict[str, Met] = {}
    for column in _TEXTS:
        likely = products.filter(
            pc.call_function("match_substring", [products[column]], pc.MatchSubstringOptions(figures))
        )
        for key, text in zip(likely["product_id"].to_pylist(), likely[column].to_pylist(), strict=True):
            if key not in found and within(text):
                found[key] = Met(column, text[:200])
    return found


def _words(value: str) -> Callable[[str], bool]:
    """Whether a text holds the value as words of its own: `24 V` as `24V` and `24 V`, not in `124 V` or `24 VA`."""
    pieces = [re.escape(each).replace(r"\.", "[.,]").replace(",", "[.,]") for each in _PIECE.findall(folded(value))]
    wanted = re.compile(r"(?<![^\W_])(?<!\d[.,])" + r"\s*".join(pieces) + r"(?![^\W_]|[.,]\d)")
    return lambda text: bool(pieces) and wanted.search(folded(text)) is not None


def measure(value: str) -> tuple[float | None, str]:
    """A number and its unit, '' where none is named; None where the value is no number, or may be two."""
    found = _MEASURE.fullmatch(value)
    if found is None:
        return None, ""
    figures = re.sub("[.,]", "", found[1]) if _GROUPED.fullmatch(found[1]) else found[1]
    return finite_number(figures, "?"), found[2] or ""


def bare(text: str) -> str:
    """The text without spaces, case, umlauts and accents."""
    return "".join(folded(text).split())


def _is_either(value: str) -> bool:
    found = _MEASURE.fullmatch(value)
    return found is not None and may_be_two(found[1])


def _either(value: str) -> InvalidInput:
    number = _MEASURE.fullmatch(value)[1]  # pyright: ignore[reportOptionalSubscript] - `_is_either` has matched
    whole, _, rest = number.replace(",", ".").partition(".")
    decimal = f"{whole}.{rest}".rstrip("0").rstrip(".")
    return InvalidInput(f"{number} may be {decimal} or {whole}{rest}: write the one that is meant.", field="conditions")


def _nameless(value: str) -> InvalidInput:
    return InvalidInput(f"{value} may be of any feature: name the feature, or give the unit.", field="conditions")

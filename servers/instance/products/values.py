"""Values of features as catalogues write them: a number with its unit, a range, a list, a grade such as IP65. Pure.

A range (`10...30 V DC`, `-25 bis +70 °C`, `5 mA ... 2 A`) is known where its ends are written in order and of one kind,
with a hyphen (`4-20 mA`) only where a unit says that it is none of a type's. A bound (`≤ 10 mA`) counts as its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isclose

from servers.instance.products.units import in_basic, is_known
from shared.dataset.rows import finite_number, may_be_two
from shared.dataset.words import folded

_NUMBER = r"\d+(?:[.,]\d+)*"
_FIGURES = r"[+\-\N{MINUS SIGN}]?" rf"(?:{_NUMBER}|[.,]\d+)"
_SIZE = re.compile(
    rf"(?:(?:[≤≥<>~]=?|max\.?|min\.?|ca\.?)\s*)?({_FIGURES})"
    rf"(?:\s?([^\d\s.,…]{{0,5}}?(?:\s[AD]C)?)\s*(\.{{2,3}}|…|–|-|bis|to)\s*({_FIGURES}))?"
    r"(?:\s*(?![/-]\d)([^\d\s.,…±]\S*))?(?:,?\s+(\S.*))?",
    re.IGNORECASE,
)
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:\.\d{3}){2,}|(?:,\d{3}){2,})")
_LISTED = re.compile(r" ?[;|] ?|, | ?/ | /|/(?=[A-Za-z]{1,4} ?\d)")
_SLASHED = re.compile(
    rf"(?<![\w.,/+-])({_NUMBER}(?: ?/ ?{_NUMBER}){{1,9}})(?![\d/]|[.,]\d)((?: ?[^\d\s.,;|/](?:[^;|,/]|[,/](?=\S))*)?)"
)
_OR = r" (?:oder|und|or|and) "
_RUN = re.compile(
    rf"(?!0, )({_NUMBER}(?:(?:, | ?; ?|{_OR}){_NUMBER}){{1,9}})(?![\d/]|[.,]\d)"
    r"((?: ?[^\d\s.,;|/](?:[^;|,/]|[,/](?=\S))*)?)"
)
_ALTERNATIVE = re.compile(rf"(?<=[^\d\s]){_OR}(?=\d)")
_AGAIN = re.compile(r"(?<=[\d ])([kmµ]?[VAW]|k?VA|[kM]?Hz)(?: ?[AD]C)?(/)(?=\d+(?:[.,]\d+)* ?\1(?![^\W\d]))")
_PARTS = re.compile(rf" ?[/;] ?|, |{_OR}")
_FRACTION = re.compile(r"1/\d+|2/3|[3579]/(?:[248]|16|32|64)")
_GRADE = re.compile(r"([A-Za-z]{1,4})\s?(\d{1,4})[A-Za-z]?")
_PIECE = re.compile(rf"{_NUMBER}|[^\W\d]+|[^\w\s]")
_CURRENT = re.compile(r"([kmµ]?[VA])[/-]?(AC|DC)", re.IGNORECASE)
_NOT = r"(?:ohne|nicht|keine?[mnrs]?|no|not|without|non)[\s-]+"
_YES, _NO = frozenset({"true", "yes", "ja", "y", "j"}), frozenset({"false", "no", "nein", "n"})


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers from `low` to `high`, the same where it is one; `unit` as it is written, '' where none is; `rest` is what
    stands behind it: `DC`."""

    low: float
    high: float
    unit: str = ""
    rest: str = ""

    def in_basic(self) -> tuple[float, float, str]:
        """Both ends in the basic unit of their kind, and that unit."""
        low, kind = in_basic(self.low, self.unit)
        return low, in_basic(self.high, self.unit)[0], kind

    def holds(self, asked: Size) -> bool:
        """Whether all that is asked for lies in it: 24 V in 10...30 V. Without a unit the numbers are compared."""
        (low, high, kind), (least, most, wanted) = self.in_basic(), asked.in_basic()
        if not asked.unit:
            low, high, least, most = self.low, self.high, asked.low, asked.high
        return (not asked.unit or kind == wanted) and at_most(low, least) and at_most(most, high)

    def reaches(self, asked: Size, sign: int) -> bool:
        """Whether a number of it is at least (`sign` 1) or at most (-1) what is asked for."""
        (low, high, kind), (number, _, wanted) = self.in_basic(), asked.in_basic()
        if not asked.unit:
            low, high, number = self.low, self.high, asked.low
        elif kind != wanted:
            return False
        return at_most(number, high) if sign > 0 else at_most(low, number)


def at_most(number: float, other: float) -> bool:
    """Whether a number is no larger, but for what computing in another unit adds."""
    return number <= other or isclose(number, other)


def size(text: str, unit: str = "") -> Size | None:
    """What a text says as a number or a range; None where it is neither, or a number may be two (`1.500`).

    Args:
        unit: of the value's column, where the text names none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    first, of_first, sign, last, own, rest = found.groups()
    own, rest = own or unit, rest or ""
    if current := _CURRENT.fullmatch("".join(own.split())):
        own, rest = current[1], f"{current[2]} {rest}".rstrip()
    if (rest and not is_known(own)) or (sign in ("-", "–") and not own):
        return None
    low = _number(first)
    high = low if last is None else _number(last)
    if of_first:
        low = _first_end(low, of_first, own, rest)
    return None if low is None or high is None or low > high else Size(low, high, own, rest)


def _first_end(number: float | None, of_first: str, unit: str, rest: str) -> float | None:
    """A range's first end in the unit of its last; None where it is of another kind: `16 A - 400 V`."""
    current = _CURRENT.fullmatch("".join(of_first.split()))
    own = current[1] if current else of_first
    if own == "°" and in_basic(1, unit)[1] == "°C":
        own = unit
    if number is None or (current and not rest.upper().startswith(current[2].upper())):
        return None
    if own == unit:
        return number
    (basic, kind), (one, wanted) = in_basic(number, own), in_basic(1, unit)
    return basic / one if kind == wanted else None


def sizes(value: str, number: float | None, unit: str) -> list[Size]:
    """What a feature's value says as numbers, of a list each."""
    if number is not None:
        plain = size("0", unit) or Size(0, 0, unit)
        return [Size(number, number, plain.unit, plain.rest)]
    whole, *parts = listed(apart(value, unit))
    found = [each for part in parts if (each := size(part, unit)) is not None]
    if len(found) < 2 and (each := size(whole, unit)) is not None:  # else it is its first number, the others behind it
        found.append(each)
    return found


def apart(value: str, unit: str = "") -> str:
    """A value with its numbers parted by ` / `, each with the unit that stands behind the last: `110/230 V`,
    `110 V/230 V`, and of a value that begins with them `12, 24 V` and `24 V DC oder 48 V DC`."""
    if " " in value and value[0].isdigit():
        value = _ALTERNATIVE.sub(" / ", value)
        if (run := _RUN.match(value)) is not None:
            value = _each_measured(run, unit) + value[run.end() :]
    if "/" in value:
        value = _AGAIN.sub(lambda found: found[0][:-1] + " / ", value)
        value = _SLASHED.sub(lambda found: _each_measured(found, unit), value)
    return value


def _each_measured(found: re.Match[str], unit: str) -> str:
    """Numbers with one unit behind them as a list, each with it: `110/230 V`. As they are where they may be a fraction
    (`3/4 l`) or are in no unit that is known (`5/2 Wege`)."""
    numbers, behind = found.groups()
    plain = numbers.replace(" ", "")
    each = [f"{number}{behind}" for number in _PARTS.split(numbers)]
    last = None if _FRACTION.fullmatch(plain) else size(each[-1], unit)
    return " / ".join(each) if last is not None and last.low == last.high and is_known(last.unit) else found[0]


def listed(value: str) -> list[str]:
    """A value, and the parts of it where it is a list: `IP67, IP69K`, `NPN / PNP`."""
    parts = [part for part in _LISTED.split(" ".join(value.split())) if part]
    return [value, *parts] if len(parts) > 1 else [value]


def grade(text: str) -> tuple[str, tuple[int, ...]] | None:
    """A name before a number as both (`DN 20`, `AWG 22`); of a degree of protection each digit, as IEC 60529 gives each
    its own meaning: IP65 is 6 and 5."""
    found = _GRADE.fullmatch(text.strip())
    if found is None:
        return None
    name = found[1].lower()
    return name, tuple(map(int, found[2])) if name == "ip" and len(found[2]) == 2 else (int(found[2]),)


def is_same(value: str, other: str) -> bool:
    """Whether two texts are the same but for blanks, case, umlauts and accents, or both say yes or both no."""
    one, two = bare(value), bare(other)
    return one == two or {one, two} <= _YES or {one, two} <= _NO


def bare(text: str) -> str:
    """The text without spaces, case, umlauts and accents."""
    return "".join(folded(text).split())


def saying(value: str) -> Callable[[str], bool]:
    """Whether a text holds the value as words of its own, and does not deny it: `24 V` as `24V` and `24 V`, not in
    `124 V` or `24 VA`; `Kabel` not in `ohne Kabel`."""
    pieces = [re.escape(each).replace(r"\.", "[.,]").replace(",", "[.,]") for each in _PIECE.findall(folded(value))]
    words = r"(?<![^\W_])(?<!\d[.,])" + r"\s*".join(pieces) + r"(?![^\W_]|[.,]\d)"
    wanted, denied = re.compile(words), re.compile(_NOT + words)

    def says(text: str) -> bool:
        plain = folded(text)
        return bool(pieces) and wanted.search(denied.sub("", plain)) is not None

    return says


def either(value: str) -> tuple[str, str, str] | None:
    """The number of a value that may be two by who reads it (`20.000`), and both; None where it is none such."""
    found = _SIZE.fullmatch(value.strip())
    if found is None or not may_be_two(found[1]):
        return None
    whole, _, rest = found[1].replace(",", ".").partition(".")
    return found[1], f"{whole}.{rest}".rstrip("0").rstrip("."), f"{whole}{rest}"


def _number(figures: str) -> float | None:
    return finite_number(re.sub("[.,]", "", figures) if _GROUPED.fullmatch(figures) else figures, "?")

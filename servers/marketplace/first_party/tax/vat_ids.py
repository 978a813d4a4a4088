"""VAT identification numbers of the European Union: their form, and the check digit where its rule is published.

Forms: VIES, "VAT identification number structure" (European Commission). Check digit of Germany (USt-IdNr) and Croatia
(OIB): ISO 7064 MOD 11,10. The other states' check digits are not looked at, and the answer says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

CheckDigit = Literal["valid", "invalid", "not checked"]
VIES = "European Commission, VIES: VAT identification number structure"
ISO_7064 = "ISO 7064 MOD 11,10"

FORMS: dict[str, str] = {
    "AT": r"U\d{8}",
    "BE": r"[01]\d{9}",
    "BG": r"\d{9,10}",
    "CY": r"\d{8}[A-Z]",
    "CZ": r"\d{8,10}",
    "DE": r"[1-9]\d{8}",
    "DK": r"\d{8}",
    "EE": r"\d{9}",
    "EL": r"\d{9}",
    "ES": r"[A-Z]\d{7}[A-Z0-9]|\d{8}[A-Z]",
    "FI": r"\d{8}",
    "FR": r"[A-HJ-NP-Z0-9]{2}\d{9}",
    "HR": r"\d{11}",
    "HU": r"\d{8}",
    "IE": r"\d[A-Z0-9+*]\d{5}[A-Z]|\d{7}[A-W][A-I]",
    "IT": r"\d{11}",
    "LT": r"\d{9}|\d{12}",
    "LU": r"\d{8}",
    "LV": r"\d{11}",
    "MT": r"\d{8}",
    "NL": r"\d{9}B\d{2}",
    "PL": r"\d{10}",
    "PT": r"\d{9}",
    "RO": r"\d{2,10}",
    "SE": r"\d{12}",
    "SI": r"\d{8}",
    "SK": r"\d{10}",
    "XI": r"\d{9}|\d{12}|(GD|HA)\d{3}",
}
"""Prefix → what follows it. EL is Greece, XI is Northern Ireland (goods only)."""

CHECKED = frozenset({"DE", "HR"})
_SEPARATORS = re.compile(r"[ .\-/]")


@dataclass(frozen=True, slots=True)
class VatId:
    """A number without separators, and what is right and wrong about it. `prefix` is '' where it is none of the EU."""

    number: str
    prefix: str
    well_formed: bool
    check_digit: CheckDigit

    @property
    def acceptable(self) -> bool:
        """Nothing that can be checked here is wrong. Whether it is registered, only the authorities know."""
        return self.well_formed and self.check_digit != "invalid"


def read_vat_id(text: str) -> VatId:
    """A number as people write it: separators and small letters are taken; GR is read as EL."""
    number = _SEPARATORS.sub("", text).upper()
    if number.startswith("GR"):
        number = "EL" + number[2:]
    prefix, rest = number[:2], number[2:]
    form = FORMS.get(prefix)
    if form is None or not number.isascii():
        return VatId(number, "", False, "not checked")
    if re.fullmatch(form, rest) is None:
        return VatId(number, prefix, False, "not checked")
    if prefix not in CHECKED:
        return VatId(number, prefix, True, "not checked")
    return VatId(number, prefix, True, "valid" if check_digit(rest[:-1]) == int(rest[-1]) else "invalid")


def check_digit(digits: str) -> int:
    """The check digit of a row of digits by ISO 7064 MOD 11,10 (hybrid system with the moduli 11 and 10)."""
    product = 10
    for digit in digits:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10

"""VAT identification numbers of the European Union: their form, and the check digit where its rule is published. And
what to say of the neighbours' that are none of the Union: British and Swiss ones.

Forms: VIES, "VAT identification number structure" (European Commission). Check digit of Germany (USt-IdNr) and Croatia
(OIB): ISO 7064 MOD 11,10. Switzerland (UID): modulus 11, published by the Federal Statistical Office. The other states'
check digits are not looked at, and the answer says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

CheckDigit = Literal["valid", "invalid", "not checked"]
VIES = "European Commission, VIES: VAT identification number structure"
ISO_7064 = "ISO 7064 MOD 11,10"
XI_PREFIX = "Council Directive (EU) 2020/1756: from 2021 the prefix XI identifies Northern Ireland, for goods"
SWISS_UID = "Switzerland, UIDV Art. 5; Federal Statistical Office: Aufbau der UID, check digit by modulus 11"

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

BRITISH = r"\d{9}|\d{12}|(GD|HA)\d{3}"
SWISS = r"\d{9}(MWST|TVA|IVA|TPV)?"
NOTES = {
    "GB": "Since 2021 British VAT ids are none of the EU, and VIES does not know them: ask HMRC's checker. Goods to or "
    "from Northern Ireland are traded under the same number with XI, which VIES knows.",
    "CHE": "A Swiss UID is no VAT id of the EU, and VIES does not know it: the UID register says whether its holder is "
    "registered for VAT, which an added MWST, TVA or IVA claims.",
}
"""Prefix → what its holder has to know; none of these is a VAT id of the EU."""
SWISS_WEIGHTS = (5, 4, 3, 2, 7, 6, 5, 4)

CHECKED = frozenset({"DE", "HR"})
_SEPARATORS = re.compile(r"[ .\-/]")


@dataclass(frozen=True, slots=True)
class VatId:
    """A number without separators, and what is right and wrong about it. `prefix` is '' where no rule is known."""

    number: str
    prefix: str
    well_formed: bool
    check_digit: CheckDigit

    @property
    def note(self) -> str | None:
        """What there is to know where it is none of the EU."""
        return NOTES.get(self.prefix)

    @property
    def acceptable(self) -> bool:
        """Nothing that can be checked here is wrong with it as a VAT id of the EU. Whether it is registered, only the
        authorities know."""
        return self.well_formed and self.check_digit != "invalid" and self.note is None

    @property
    def sources(self) -> list[str]:
        """The rules that it was judged by."""
        if self.prefix == "CHE":
            return [SWISS_UID]
        if self.prefix == "GB":
            return [XI_PREFIX]
        return [VIES] + ([ISO_7064] if self.check_digit != "not checked" else [])


def read_vat_id(text: str) -> VatId:
    """A number as people write it: separators and small letters are taken; GR is read as EL."""
    number = _SEPARATORS.sub("", text).upper()
    if number.startswith("GR"):
        number = "EL" + number[2:]
    if number.startswith("CHE") and number.isascii():
        return _swiss(number)
    prefix, rest = number[:2], number[2:]
    form = BRITISH if prefix == "GB" else FORMS.get(prefix)
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


def swiss_check_digit(digits: str) -> int:
    """The check digit of a UID's eight digits; 10: these eight are given to nobody."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, SWISS_WEIGHTS, strict=True))
    return -total % 11


def _swiss(number: str) -> VatId:
    if re.fullmatch(SWISS, number[3:]) is None:
        return VatId(number, "CHE", False, "not checked")
    right = swiss_check_digit(number[3:11]) == int(number[11])
    return VatId(number, "CHE", True, "valid" if right else "invalid")

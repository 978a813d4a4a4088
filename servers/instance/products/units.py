"""Units of measure: which are of one kind, so that 22.5 mm, 2,25 cm and 22.5 in MMT are the same. Pure.

Codes are those of UN/ECE Recommendation 20, which catalogues write. A unit that is not here is only like itself.
"""

from __future__ import annotations

import re

from shared.dataset.words import folded

_KINDS = (  # the units of a kind, each with the power of ten that its basic unit is raised by
    "mg -3 g 0 kg 3 t 6", "nm -9 µm -6 mm -3 cm -2 dm -1 m 0 km 3", "mm² -6 cm² -4 dm² -2 m² 0",
    "mm³ -9 cm³ -6 dm³ -3 m³ 0", "ml -3 cl -2 dl -1 l 0 hl 2", "mV -3 V 0 kV 3", "µA -6 mA -3 A 0 kA 3",
    "mW -3 W 0 kW 3 MW 6", "VA 0 kVA 3", "Wh 0 kWh 3", "Hz 0 kHz 3 MHz 6 GHz 9", "Ω 0 kΩ 3 MΩ 6",
    "pF -12 nF -9 µF -6 F 0", "N 0 kN 3", "Nm 0 kNm 3", "J 0 kJ 3",
    "µs -6 ms -3 s 0", "mbar -3 bar 0", "Pa 0 hPa 2 kPa 3 MPa 6", "lm 0 klm 3",
    "K 0", "°C 0", "lx 0", "cd 0", "% 0", "° 0", "dB 0",
)  # fmt: skip
_CODES = (
    "MGM mg GRM g KGM kg TNE t C45 nm 4H µm MMT mm CMT cm DMT dm MTR m KMT km MMK mm² CMK cm² MTK m² MMQ mm³ CMQ cm³ "
    "MTQ m³ MLT ml LTR l HLT hl 2Z mV VLT V KVT kV B84 µA 4K mA AMP A C31 mW WTT W KWT kW MAW MW D46 VA KVA kVA "
    "WHR Wh KWH kWh HTZ Hz KHZ kHz MHZ MHz A86 GHz OHM Ω B49 kΩ B75 MΩ 4T pF C41 nF 4O µF NEW N B47 kN NU Nm JOU J "
    "KJO kJ C26 ms SEC s MBR mbar BAR bar PAL Pa A97 hPa KPA kPa MPA MPa LUM lm LUX lx CDL cd KEL K CEL °C P1 % DD ° "
    "2N dB"
)
_WRITTEN = {"ohm": "Ω", "kohm": "kΩ", "mohm": "MΩ", "liter": "l", "qmm": "mm²", "grad": "°", "lumen": "lm"}


def _known() -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for kind in _KINDS:
        words = kind.split()
        basic = next(unit for unit, power in zip(words[::2], words[1::2], strict=True) if power == "0")
        found |= {unit: (basic, int(power)) for unit, power in zip(words[::2], words[1::2], strict=True)}
    codes = _CODES.split()
    found |= {code: found[unit] for code, unit in zip(codes[::2], codes[1::2], strict=True)}
    return found | {written: found[unit] for written, unit in _WRITTEN.items()}


_KNOWN = _known()
_NAMED_IN = re.compile(
    r"(.*?(?:[^\W\d_]{3,}|[Øø⌀])(?<!\bpro)(?<!\bper))(,?\s*[(\[](?:in\s+)?|,?\s+in\s+|,?\s+)([^\s)\]]{1,4})[)\]]?"
)
_LOWER = [unit.lower() for unit in _KNOWN]
_IN_ANY_CASE = {unit.lower(): size for unit, size in _KNOWN.items() if _LOWER.count(unit.lower()) == 1}  # not mW, MW


def unit_said(name: str) -> tuple[str, str]:
    """A feature's name without the unit that it ends with, and that unit: `Gewicht kg`, `Breite in mm`, `Länge [m]`. A
    unit of one letter counts in brackets or behind `in` alone: `Typ A` is no current."""
    found = _NAMED_IN.fullmatch(name.strip())
    if found is None:
        return name, ""
    bare, behind, unit = found.groups()
    certain = bool(behind.strip())
    return (bare, unit) if unit in _KNOWN and (certain or len(unit) > 1) else (name, "")


def is_known(unit: str) -> bool:
    """Whether a unit is one of those that are here."""
    return _found(unit)[1] is not None


def in_basic(number: float, unit: str) -> tuple[float, str]:
    """A number in the basic unit of its kind, and that unit; as it is where the unit is not known."""
    plain, known = _found(unit)
    basic, power = known or (folded(plain), 0)
    return (number * 10**power if power >= 0 else number / 10**-power), basic


def _found(unit: str) -> tuple[str, tuple[str, int] | None]:
    """The unit without blanks and in the signs of this file; its basic unit and power, None where it is not here."""
    plain = "".join(unit.split()).replace("μ", "µ")
    plain = plain[:-1] + {"2": "²", "3": "³"}[plain[-1]] if len(plain) > 1 and plain[-1] in "23" else plain
    return plain, _KNOWN.get(plain) or _IN_ANY_CASE.get(plain.lower())

"""Word's font Symbol, whose letters are Greek and mathematical signs: 100 W in it is 100 Ω.

Source: https://unicode.org/Public/MAPPINGS/VENDORS/ADOBE/symbol.txt; μ as the unit's sign µ.
"""

from __future__ import annotations

_LOW = " !∀#∃%&∍()*+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλµνοπθρστυϖωξψζ{|}∼"
_HIGH = "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\ufffd〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭"
_SIGNS = dict(enumerate(_LOW, 0xF020)) | dict(enumerate(_HIGH, 0xF0A0))


def is_symbol(font: str) -> bool:
    return font.strip().lower().startswith("symbol")


def signs(text: str) -> str:
    """The text with signs for the code points U+F020 to U+F0FE, under which Word keeps the font's letters."""
    return text.translate(_SIGNS)

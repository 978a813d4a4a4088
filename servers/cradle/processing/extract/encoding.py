"""Bytes to text, without guessing by chance: BOM, UTF-8, UTF-16 by its zero bytes, then Windows' code page.

Text that is UTF-8 but for a few bytes, and German text of DOS, are known by what they would be as Windows' text.
"""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_BREAKS = re.compile("[\xad\u200b\u2060]")
_ONE_BY_ONE = "cradle.cp1252"  # how `codecs` knows `_strays`
_SURELY = 2  # so many times as many characters in UTF-8 as bytes that are none, and these are strays
# ü, ä and ö inside a word of DOS's code page; to Windows they are no sign, „ and ”, which stand at a word's ends.
_DOS = re.compile(rb"(?<=[A-Za-z])[\x81\x84\x94](?=[A-Za-z\xe1])")
_WINDOWS = re.compile(rb"(?<=[A-Za-z])[\xdf\xe4\xf6\xfc](?=[A-Za-z\xdf])")
_RAISED = re.compile(
    r"[+\-\u2212\u2013]?\d{1,3}|\d{0,2}[+\-\u2212\u2013]|\(?\d{1,2}\)(?:[,;]? ?\(?\d{1,2}\))*|\d(?:[,;] ?\d)+", re.ASCII
)
_UP = str.maketrans("0123456789+-\u2212\u2013()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁽⁾")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without control characters and lone surrogates, with line feeds alone as line ends."""
    if text.isprintable():  # most cells and lines, in which nothing need be looked for
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _LONE_SURROGATE.sub("\ufffd", _UNWANTED.sub("", text))


def whole(text: str) -> str:
    """The text without what only says where a word may be broken, soft hyphens and spaces of no width: to a search it
    would be two words there."""
    return _BREAKS.sub("", text)


def paired(text: str) -> str:
    """The text with one character for two surrogates, as which formats of 16-bit units write those beyond U+FFFF."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def raised(text: str) -> str:
    """Superscript text in characters that stand above the line, where it is an exponent, a charge, cents or a note's
    number: 10⁻³ is not 10-3, and 12,50¹ not 12,501. Small print as a whole, and `1st`, stay as they are."""
    return text.translate(_UP) if _RAISED.fullmatch(text.strip()) else text


def squeezed(text: str) -> str:
    """One line: every run of white space becomes one space."""
    return " ".join(clean(text).split())


def encoding_of(data: bytes) -> str | None:
    """The encoding of text in `data`, or None where the bytes are not text. A cut multi-byte end is forgiven."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    if wide := _utf16(data[:4096]):
        return wide
    if b"\x00" in data:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(data)
    except UnicodeDecodeError:
        return "cp1252" if _mostly_printable(data[:65536]) else None
    return "utf-8" if _mostly_printable(data[:65536]) else None


def decode(data: bytes) -> str:
    """The text of `data`, cleaned; bytes that no encoding explains become U+FFFD rather than an error."""
    if data.startswith(codecs.BOM_UTF8):
        return clean(data[len(codecs.BOM_UTF8) :].decode("utf-8", _ONE_BY_ONE))
    name = encoding_of(data) or "cp1252"
    for bom, of in _BOMS:
        if of == name and data.startswith(bom):
            data = data[len(bom) :]
            break
    if name == "cp1252":
        if _mostly_utf8(data):
            return clean(data.decode("utf-8", _ONE_BY_ONE))
        if len(_DOS.findall(data)) >= 2 and not _WINDOWS.search(data):
            return clean(data.decode("cp850"))
        # The five bytes that cp1252 leaves undefined are read as Latin-1 does, so that no character is lost.
        return clean("".join(_cp1252(data)))
    return clean(data.decode(name, "replace"))


def _mostly_utf8(data: bytes) -> bool:
    """Whether text in UTF-8 has a few bytes of Windows' code page, where a line came from elsewhere."""
    text = data.decode("utf-8", "ignore")
    kept = text.encode()
    wide = len(text) - len(text.encode("ascii", "ignore"))
    return wide > _SURELY * (len(data) - len(kept))


def _strays(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(_cp1252(error.object[error.start : error.end])), error.end


codecs.register_error(_ONE_BY_ONE, _strays)


def _cp1252(data: bytes) -> list[str]:
    try:
        return [data.decode("cp1252")]
    except UnicodeDecodeError:
        return [bytes((byte,)).decode("cp1252", "ignore") or chr(byte) for byte in data]


def _utf16(head: bytes) -> str | None:
    if len(head) < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > half * 0.7 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.7 and odd < half * 0.05:
        return "utf-16-be"
    return None


def _mostly_printable(head: bytes) -> bool:
    controls = sum(head.count(byte) for byte in range(32) if byte not in (9, 10, 12, 13, 27))
    return controls * 50 <= len(head)

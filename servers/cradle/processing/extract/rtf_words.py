"""What control words of RTF mean (Rich Text Format Specification 1.9.1), where a table says it: signs, destinations,
and the character sets of fonts."""

from __future__ import annotations

import codecs
import re

from servers.cradle.processing.extract.symbol_font import is_symbol, signs

SIGNS: dict[bytes, str] = {
    b"tab": "\t",
    b"line": "\n",
    b"lbr": "\n",
    b"page": "\n",
    b"column": "\n",
    b"emdash": "\u2014",
    b"endash": "\u2013",
    b"emspace": " ",
    b"enspace": " ",
    b"qmspace": " ",
    b"bullet": "\u2022",
    b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
}
SYMBOLS: dict[bytes, str] = {b"\\": "\\", b"{": "{", b"}": "}", b"~": "\xa0", b"_": "-"}
ASIDES = frozenset(
    b"footnote header headerl headerr headerf footer footerl footerr footerf annotation shptxt dptxbxtext".split()
)
"""Destinations with text of their own, which follows the body."""
BOXES = frozenset((b"shptxt", b"dptxbxtext"))
"""Those of them that stand on the page of the body."""
OPTIONAL = frozenset(b"shpinst do annotation shpgrp shppict".split())
"""Destinations that are read, though `\\*` lets old readers pass over them."""
LEFT_OUT = frozenset(
    b"""aftncn aftnsep aftnsepc atnauthor atndate atnid atnref atrfend atrfstart author background bkmkend bkmkstart
    category colorschememapping colortbl comment company datafield datastore doccomm ebcend ebcstart factoidname falt
    ffdeftext ffentrymcr ffexitmcr ffhelptext ffname ffstattext filetbl fldinst fontemb ftncn ftnsep ftnsepc generator
    hlinkbase keywords latentstyles listoverridetable listpicture listtable manager mmathPr nonesttables nonshppict
    objalias objname objtime operator panose password passwordhash pn private protusertbl revtbl rsidtbl rxe
    shprslt subject tc template themedata txe userprops wgrffmtfilter windowcaption xe xmlnstbl""".split()
)
NUMBERS = frozenset((b"listtext", b"pntext"))
"""Destinations with the number or bullet that the writer made: their paragraph is of a list."""

CODE_PAGES = {b"ansi": "cp1252", b"mac": "mac-roman", b"pc": "cp437", b"pca": "cp850"}
_CHARSETS = {
    0: 1252, 2: 1252, 77: 10000, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258,
    177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250, 254: 437, 255: 850,
}  # fmt: skip
_NAMED = {10000: "mac-roman", 65001: "utf-8"}
_DINGBATS = re.compile("wingdings|webdings|dingbats|marlett|monotype sorts", re.IGNORECASE)


def code_page(number: int) -> str:
    """The codec of a Windows code page; Windows' own for Western Europe where there is none."""
    name = _NAMED.get(number, f"cp{number}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"


def charset(number: int, default: str) -> str:
    """The codec of a font's `\\fcharset`."""
    return code_page(_CHARSETS[number]) if number in _CHARSETS else default


class Font:
    """How bytes in a font become text. Those of a font of signs stay apart from letters, at U+F020 to U+F0FF."""

    def __init__(self, codec: str, name: str = "") -> None:
        self._codec = codec
        self._symbol = is_symbol(name)
        self._apart = self._symbol or _DINGBATS.search(name) is not None

    def text(self, data: bytes) -> str:
        if self._apart:
            return self.shown("".join(chr(0xF000 + byte if byte > 32 else byte) for byte in data))
        return data.decode(self._codec, "replace")

    def shown(self, text: str) -> str:
        """Text that came as characters."""
        return signs(text) if self._symbol else text

"""How words are made comparable for search: umlauts, compounds, article numbers. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from itertools import pairwise

_WORD = re.compile(r"[a-z]{5,40}")
_HYPHENED = re.compile(r"(?<![a-z0-9-])[a-z]+(?:-[a-z]+)+(?![a-z0-9-])")
_CODE = re.compile(r"[a-z0-9]+(?:[./_-]+[a-z0-9]+)*")
_SEPARATORS = re.compile(r"[./_-]+")
_SIGNS = b"./_-"
_IN_CODES = b"abcdefghijklmnopqrstuvwxyz0123456789" + _SIGNS
_CODES_ONLY = bytes(each if each in _IN_CODES else 0x20 for each in range(256))
_DIGIT = re.compile(r"[0-9]")
_NAMED = re.compile(r"[a-z].*[0-9]|[0-9]{8}")
MIN_WORD, MAX_WORD = 5, 40
MIN_CODE, MAX_CODE = 4, 40
MAX_SPELLED, MAX_PARTS, MAX_LETTERS, MAX_NAME = 64, 6, 5, 3
STEM = 7
"""Letters that two forms of a German word share in most cases (`Klemme`, `Klemmen`; `Drehmoment`, `Drehmomente`)."""
ENDING = 2
"""Letters at the end of a longer word in which its forms differ."""
_STOP_WORDS = (
    "aber als am an auch auf aus bei bis bzw das dass dem den der des die dies diese dieser dieses ein eine "
    "einem einen einer eines er es fuer gibt gilt hat haben ich ihr im in ist kann man mit nach nicht noch nur "
    "ob oder sie sind so ueber um und unter vom von vor wann war warum was welche welchem welchen welcher "
    "welches wem wen wenn wer werden wie wieviel wir wird wo wurde zu zum zur a an and are as at be by can do "
    "does for from has have how in is it its of on or than that the their then there these they this to was "
    "were what when where which who why will with"
)
_STOP = frozenset(_STOP_WORDS.split())
_NO_NAMES = "ab je pro per ca max min nr no art ean gtin eur euro stk und"
_OF_NO_NAME = _STOP | frozenset(_NO_NAMES.split())
_OF_NO_TYPE = _OF_NO_NAME | frozenset(
    ["sku", "pzn", "id", "ref", "mpn", "usd", "chf", "gbp", "kw", "cw", "ac", "dc", "tel", "fax", "plz"]
)
_DIMENSION = re.compile(r"(?<![\d.,])\d{1,9}(?:[.,]\d{1,9})?(?:\s?[x×*]\s?\d{1,9}(?:[.,]\d{1,9})?)+")
_AREA = re.compile(r"(?<![a-z0-9])([cdkm]?m)[23](?![a-z0-9])")
_MEASURED = re.compile(
    r"\d{1,9}(?:[.,]\d{1,9})?(?:[cdkm]?m[23]|[a-zµ°ω%]{1,3}(?:/\d{1,9}(?:[.,]\d{1,9})?[a-zµ°ω%]{1,3})+)"
)
_GIVEN_IN = re.compile(
    r"\bin (?:[cdkm]?m|m?m[23]|k?g|t|k?nm?|m?v|m?a|k?w|k?hz|ms|s|bar|%|eur|euro|st(?:ue|ü)ck)(?![a-z0-9])",
    re.IGNORECASE,
)
_DECIMAL = re.compile(r"(?<=\d),(?=\d)")
_TIMES = re.compile(r"\s?[x×*]\s?")
_WHOLE = re.compile(r"\.0+(?=x|$)")
_DIMENSION_APART = re.compile(
    r"(?<![\w.,/-])[A-Za-z]{0,2}\d{1,9}(?:[.,]\d{1,9})?(?:\s?[xX×*]\s?\d{1,9}(?:[.,]\d{1,9})?)+(?!\d|-\w)"
)
_COUNTED = re.compile(
    r"(?<![\w.,/-])\d{1,9}(?:\s?[xX×*]\s?\d{1,9})*\s?(?:st(?:ü|ue)cke?|stc?k|pcs?|pieces?|vpe|ve|pack(?:ung(?:en)?|ages?|s)?"
    r"|rollen?|rolls?|kartons?|beutel|paare?)\b\.?",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?<![\w.-])(?:(?:0?[1-9]|[12]\d|3[01])\.\s?(?:0?[1-9]|1[0-2])\.\s?(?:19|20)\d\d"
    r"|(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))(?![\w-])"
)
_SIDES = re.compile(r"(?<![a-z0-9.,])([a-z]{0,2})(\d[\d.]*(?:x\d[\d.]*)+)")
_BY = re.compile(r"[x×*]\s?\d")
_NUMBER = r"\d+(?:[.,]\d+)?"
_TOGETHER = re.compile(
    rf"(?<![a-z0-9])(?![cdkm]?m[23]\b)(?:([a-z]{{1,4}})({_NUMBER})|({_NUMBER})([a-zµ°ω%]{{1,4}}[23]?))(?![a-z0-9])"
)
_NAME_APART = re.compile(r"(?<![a-z0-9./_-])([a-z]{1,5}) (\d[a-z0-9./_-]*)")
_TYPE_APART = re.compile(r"(?<![\w./-])[A-ZÄÖÜ]{1,5} \d[\w./-]*")
_BELOW_A_BAR_CODE = re.compile(r" (?<=(?<!\d)(\d) )(\d{6}) (\d{6})(?!\d)")  # a space first: it is found at once
_ASKS_FOR_ONE = (
    "artikel", "artnr", "bestell", "materialnummer", "nummer", "article", "number", "auftrag", "angebot", "rechnung",
    "lieferschein", "order", "quotation", "invoice",
)  # fmt: skip
_COMPARES = re.compile(
    r"\b(?:guenstigst|billigst|preiswertest|teuerst|cheapest|lowest price|highest price|most expensive)|"
    r"\b(?:mindestens|hoechstens|at least|at most) \d|\b(?:wie ?viele|how many) (?:artikel|produkte|articles|products)"
)
_PART = re.compile(r"[0-9]{6,7}")
_ABOVE_THE_LINE = re.compile(r"(?<=\d)(?=[⁰¹²³⁴⁵⁶⁷⁸⁹])")
_EDGES = "()[]{},;:!?.\"'„“”»«"
_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|[a-z0-9]+")  # `1,5` is one number


def folded(text: str) -> str:
    """Lower case without umlauts and accents: `Gehäuse` and `Gehaeuse` become the same. An exponent or a note's number
    is no digit of the number before it."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", _ABOVE_THE_LINE.sub(" ", text)).lower()
    plain = plain.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    if plain.isascii():
        return plain
    plain = unicodedata.normalize("NFKD", plain)
    for mark in filter(unicodedata.combining, set(plain)):
        plain = plain.replace(mark, "")
    return plain


def long_words(text: str) -> str:
    """The text's different words of five letters and more that carry content: what compounds and their parts are. One
    with hyphens is there as a whole too: `Motor-Schutz-Schalter`."""
    plain = folded(text)
    found = _WORD.findall(plain)
    if "-" in plain:
        found += [each.replace("-", "") for each in _HYPHENED.findall(plain)]
    return " ".join(word for word in dict.fromkeys(found) if word not in _STOP and MIN_WORD <= len(word) <= MAX_WORD)


def codes(text: str) -> str:
    """What looks like an article number, GTIN or type, without separators; `5SY4 116-7` also joined."""
    found, signs = list[tuple[int, bytes]](), 0
    for at, token in enumerate(folded(text).encode("ascii", "replace").translate(_CODES_ONLY).split()):
        if token.isalpha():  # nearly all
            continue
        code = token.translate(None, _SIGNS)
        signs += not code
        if code and not code.isalpha():
            found.append((at - signs, code))
    pairs = [left + right for (at, left), (after, right) in pairwise(found) if after == at + 1]
    return _distinct(b" ".join([*(code for _, code in found), *pairs]).decode().split())


def passage_codes(text: str) -> str:
    """What a passage is found by beside `codes`: dimensions (`M8 x 40` as `m8x40`), short names before a number
    (`DIN 933` as `din933`) and GTINs as they stand below a bar code, which a question may write together."""
    plain = _plain_codes(text)
    named = [
        name + _SEPARATORS.sub("", number) for name, number in _NAME_APART.findall(plain) if name not in _OF_NO_NAME
    ]
    printed = ["".join(parts) for parts in _BELOW_A_BAR_CODE.findall(plain)]
    return _distinct([*codes(plain).split(), *named, *printed, *_sides(plain)])


def number_parts(article: str) -> list[str]:
    """The parts of an article number that is written apart, without separators: `IS 12-04 PS` is `is`, `1204`, `ps`.
    None where it is written together, or a part is no code."""
    found = _parts(folded(article))
    return found if len(found) > 1 and all(found) and any(map(_numbered, found)) else []


def written_apart(text: str, beginnings: Mapping[str, Collection[int]]) -> list[str]:
    """What of a text may be article numbers that are written apart, each as one code.

    Args:
        beginnings: the first word of such numbers, folded, and of how many parts they are.
    """
    tokens = [token.strip(_EDGES) for token in folded(text).split()]
    runs = (tokens[at : at + size] for at, part in enumerate(tokens) if part in beginnings for size in beginnings[part])
    found = (_parts(" ".join(run)) for run in runs)
    return ["".join(parts) for parts in found if all(parts)]


def question_codes(text: str) -> str:
    """What a question may mean as a code: as of a passage, and what it writes apart, `933 8 40 ZN`, `RK 4 GR`.

    The number of a type that is written apart is no code alone: `KP 2000` would be a price of 20.00.
    """
    parts = _parts(_DECIMAL.sub(".", _plain_codes(text)))
    spelled: list[str] = []
    for at in range(len(parts)):
        for end in range(at + 2, min(at + MAX_PARTS, len(parts)) + 1):
            run = parts[at:end]
            if not (_numbered(run[-1]) or _short(run[-1])):
                break
            if _spells(run):
                spelled.append("".join(run))
    types = {each.split(" ", 1)[1] for each in _TYPE_APART.findall(text) if _is_type(each)}
    alone = {number for number in types if number.isdigit()}
    if whole := next(filter(_is_gtin, spelled), ""):  # of `4099 0000 3035 9` nothing else is meant
        alone |= {code for code in passage_codes(text).split() if code in whole}
        spelled = [code for code in spelled if code == whole or code not in whole]
    return _distinct([*(code for code in passage_codes(text).split() if code not in alone), *spelled[:MAX_SPELLED]])


def apart(text: str, together: str = "") -> str:
    """A question, and apart what it writes together of numbers, units and short names: `24V` also as `24 V`. The unit
    that an answer shall be in (`Breite in mm`) is left out.

    Args:
        together: the question with its compounds as one word; those that it writes apart come after it.
    """
    text = _GIVEN_IN.sub(" ", text)
    plain = folded(text)
    joined = [each for each in together.split() if each not in plain]
    return " ".join(dict.fromkeys([text, *_spellings(text)[1:], *joined]))


def named(text: str) -> dict[str, str]:
    """The article numbers, types and GTINs of a question: codes that are no measure (`500mm`, `2.5mm²`), date or year.
    Each as it is written, and all that it may be among the question's codes: `5SY4` of `5SY4 116-7` is `5sy4` or
    `5sy41167`.

    A type's short name stands before its number in capital letters: `KP 2000`. Dimensions are told as well: `M8 x 40`,
    and no quantities (`2 x 100 Stück`). A short name behind a number may be its end: of `RK 12-04 PS 250` the PS.
    """
    text = _COUNTED.sub(" ", _DATE.sub(" ", text))
    sizes = {each: code for each in _DIMENSION_APART.findall(text) if (code := codes(_dimension(folded(each))))}
    text = _DIMENSION_APART.sub(" ", text)
    tokens = [
        token.strip(_EDGES)
        for token in text.split()
        if any(map(_NAMED.search, codes(token).split())) and not _MEASURED.fullmatch(folded(token.strip(_EDGES)))
    ]
    apart = [each for each in map(str.strip, _TYPE_APART.findall(text)) if _is_type(each)]
    known = question_codes(text).split()
    ends = {each: folded(each).split(" ", 1)[0] for each in apart}
    return sizes | {
        each: " ".join(
            code
            for code in known
            if any(part in code for part in _whole_codes(each)) or (each in ends and code.endswith(ends[each]))
        )
        for each in dict.fromkeys([*tokens, *apart])
    }


def parts(text: str) -> dict[str, str]:
    """What of a question may be a part of a number: six digits and more, or all of it where it is nothing but that.
    Each as it is written, and as a code; nothing where an article is `named`."""
    found = [token for token in (each.strip(_EDGES) for each in text.split()) if folded(token) not in _OF_NO_NAME]
    found = [token for token in found if not folded(token).startswith(_ASKS_FOR_ONE)]
    whole = "".join(_parts(folded(" ".join(found))))
    if named(text) or not found:
        return {}
    if all(_numbered(part) or len(part) <= MAX_NAME for part in _parts(folded(" ".join(found)))):
        fits = len(found) < MAX_PARTS and _numbered(whole) and MIN_CODE <= len(whole) <= MAX_CODE
        return {" ".join(found): whole} if fits and whole in question_codes(" ".join(found)).split() else {}
    return {token: token for token in found if _PART.fullmatch(token)}


def whole(text: str) -> str:
    """What a question asks for where it is one number or type of several words, as it is written; else ''."""
    found = [token.strip(_EDGES) for token in text.split()]
    found = [each for each in found if not folded(each).startswith(_ASKS_FOR_ONE)]
    found = [each for each in found if each.isupper() or folded(each) not in _OF_NO_NAME]
    several = len(found) > 1 and all(_numbered(each) or (each.isalpha() and len(each) <= MAX_NAME) for each in found)
    return " ".join(found) if several else ""


def written_together(number: str) -> str:
    """A number or type as one code: `IS 12-04 PS` as `is1204ps`; '' where it is too short or too long for one."""
    code = "".join(each for each in folded(number) if each.isalnum())
    return code if MIN_CODE <= len(code) <= MAX_CODE and _numbered(code) else ""


def only_codes(text: str) -> bool:
    """Whether a question is nothing but article numbers, GTINs or types: it asks what they are."""
    found = [token.strip(_EDGES) for token in folded(text).split()]
    return all(
        _numbered(word) or len(word) <= 3 or word in _OF_NO_NAME or word.startswith(_ASKS_FOR_ONE) for word in found
    )


def stands(asked: str, text: str) -> bool:
    """Whether a text holds a name and a number that are written apart, with whatever signs between and as a number of
    its own: `AWG 22` in `Querschnitt AWG: 22`."""
    parts = re.findall(r"[a-z]+|[0-9]+", folded(asked))
    whole = r"(?<![a-z0-9])" + r"[^a-z0-9]{1,3}".join(parts) + r"(?![a-z0-9]|[./_-][a-z0-9])"
    return " " in asked and re.search(whole, folded(text)) is not None


def telling(text: str) -> list[str]:
    """The names and nouns of a question, as they are written: words with capitals, but for the first one, which may be
    a verb. Where it is nothing but words that carry content the first one counts too, and all where it has no capital.
    """
    asked = _COUNTED.sub(" ", _GIVEN_IN.sub(" ", text))
    found = [each.strip(_EDGES) for each in asked.split()]
    found = [each for each in found if len(each) >= MIN_CODE and not _numbered(each)]
    bare = not any(folded(each.strip(_EDGES)) in _STOP for each in text.split())
    lower = bare and text.islower()
    chosen = [
        each
        for each in dict.fromkeys(found)
        if lower or (each[0].isupper() and (bare or not text.startswith(each))) or any(map(str.isupper, each[1:]))
    ]
    return [each for each in chosen if folded(each) not in _OF_NO_TYPE]


def compares(text: str) -> bool:
    """Whether a question asks for what is compared or counted over many passages: the cheapest, at least 16 A."""
    return _COMPARES.search(folded(text)) is not None


def wanted(*questions: str) -> tuple[frozenset[str], ...]:
    """The words of a question that carry its content, cut to their stems, numbers whole: one set for each spelling, of
    each way in which it is put. The unit that an answer shall be in is none of them."""
    asked = [_GIVEN_IN.sub(" ", folded(each)) for each in questions]
    return tuple(
        {frozenset(map(_stemmed, set(_tokens(each)) - _STOP)): None for put in asked for each in _spellings(put)}
    )


def says(text: str, heading: str, wanted: str) -> bool:
    """Whether a passage holds one of the codes itself, and not only in the headings that stand as its first line."""
    first, _, rest = text.partition("\n")
    body = rest if first and first in heading else text
    return not set(wanted.split()).isdisjoint(passage_codes(body).split())


def coverage(wanted: tuple[frozenset[str], ...], text: str) -> float:
    """The share of the wanted words that the text holds, 0 to 1, of the spelling of which it holds most: at the start
    of a word, or inside a long one. A word that only begins so (`Sicherheitsregel` for `Sicherheitsrelais`) is half of
    it."""
    plain = folded(text)
    dotted, whole, stems = plain.replace(",", "."), plain.replace("-", ""), set[str]()

    def holds(word: str) -> float:
        nonlocal stems
        if len(word) >= STEM and (word in plain or word in whole):
            return 1.0
        if len(word) > STEM and not word[0].isdigit() and word[:STEM] in plain:
            return 0.5
        if word not in dotted:  # most are not: then the text is not taken apart
            return 0.0
        stems = stems or set(map(_stemmed, _tokens(plain)))
        return float(word in stems)

    return max(sum(map(holds, words)) / len(words) if words else 0.0 for words in wanted)


def _tokens(plain: str) -> list[str]:
    return [token.replace(",", ".") for token in _TOKEN.findall(plain)]


def _stemmed(token: str) -> str:
    return token if token[0].isdigit() else token[: max(STEM, len(token) - ENDING)]


def _numbered(token: str) -> bool:
    return _DIGIT.search(token) is not None


def _spellings(question: str) -> list[str]:
    """A question, folded: as it is, its dimensions apart (`M8 x 40`), its units and short names too (`24 V`)."""
    plain = folded(question)
    wide = _DIMENSION.sub(lambda match: _TIMES.sub(" x ", match[0]), plain)
    wider = _TOGETHER.sub(lambda match: " ".join(filter(None, match.groups())), wide)
    return list(dict.fromkeys((plain, wide, wider)))


def _parts(plain: str) -> list[str]:
    """The words of a folded text, bare of separators; '' stands for one that is more than a part of a code."""
    found = [token.strip(_EDGES) for token in plain.split()]
    return [_SEPARATORS.sub("", token) if _CODE.fullmatch(token) else "" for token in found]


def _is_type(text: str) -> bool:
    name, number = folded(text).split(" ", 1)
    return name not in _OF_NO_TYPE and len(name + _SEPARATORS.sub("", number)) >= MIN_CODE


def _is_gtin(code: str) -> bool:
    """Whether a code is a GTIN of 13 or 14 digits by its check digit (GS1 General Specifications, 7.9)."""
    if not (code.isdigit() and len(code) in (13, 14)):
        return False
    return sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(reversed(code))) % 10 == 0


def _short(part: str) -> bool:
    return part.isalpha() and len(part) <= MAX_LETTERS and part not in _OF_NO_NAME


def _spells(run: list[str]) -> bool:
    """Whether parts may be one code: numbers, or a short name and a number; `230 V` is a measure."""
    if not all(_numbered(part) or _short(part) for part in run):
        return False
    numbers = sum(map(_numbered, run))
    return numbers > 1 or (numbers == 1 and not _numbered(run[0]))


def _plain_codes(text: str) -> str:
    """A text, folded, whose dimensions are one word each and whose square millimetres hold no digit."""
    plain = folded(text)
    if "m2" in plain or "m3" in plain:
        plain = _AREA.sub(r"\1", plain)
    if not _BY.search(plain):  # most texts: looking at each digit takes longer
        return plain
    return _DIMENSION.sub(lambda match: _dimension(match[0]), plain)


def _whole_codes(text: str) -> list[str]:
    """The codes of a text but for the first sides of its dimensions: M8x40-ZN is not there where M8x40 is."""
    sides = _sides(_plain_codes(text))
    return [code for code in passage_codes(text).split() if code not in sides]


def _dimension(plain: str) -> str:
    """A dimension as one word: `8,0 x 40` as `8x40`."""
    return _WHOLE.sub("", _TIMES.sub("x", plain).replace(",", "."))


def _sides(plain: str) -> list[str]:
    """The dimensions that stand in `_plain_codes`, without what is behind them, and their first sides: 600x800x250mm is
    600x800 too, M8x40ZN is M8x40 and 8x40."""
    if "x" not in plain:
        return []
    found: list[str] = []
    for before, sizes in _SIDES.findall(plain):
        sides = sizes.replace(".", "").split("x")
        for number in range(2, len(sides) + 1):
            size = "x".join(sides[:number])
            found += [before + size, size]
    return found


def _distinct(found: list[str]) -> str:
    return " ".join(dict.fromkeys(each for each in found if MIN_CODE <= len(each) <= MAX_CODE))

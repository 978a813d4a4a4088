"""Which SQL and Cypher statements may run: exactly one, and one that reads. Pure.

This is the first of three layers. The second is the engine (a database opened read-only; a plan that must be a query),
the third the process in which it runs (`query_worker`: it can write to no file, and it is killed at the deadline).

What is a text, a name in quotes, a comment or a number has to be the same here and for the engine, else a statement
hides in what is taken for a text. What engines read differently is refused: `\\u`, which a Neo4j turns into a character
before it looks for a text's end; E'…' and its like; comments in comments; a lone carriage return; 1SET.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import InvalidInput

MAX_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class Language:
    """What a statement may begin with, which words it may not hold, and what is text rather than words in it.

    `odd` is what is refused too where texts, names in quotes and comments are taken out (for the first two, `''` and a
    space stand there), and `mend` how to do without.
    """

    name: str
    begins: frozenset[str]
    refused: frozenset[str]
    quoted: re.Pattern[str]
    odd: re.Pattern[str]
    mend: str


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


SQL = Language(
    "SELECT",
    words("select with"),
    words(
        "insert update delete merge create drop alter copy set reset load install attach detach export import "
        "prepare execute deallocate truncate into call pragma vacuum external grant revoke begin commit "
        "rollback explain describe show use analyze"
    ),
    re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|--[^\n]*|/\*(?:(?!/\*).)*?\*/", re.DOTALL),
    odd=re.compile(r"[\w&]''"),
    mend="Write a space between a word and the quote that follows it.",
)
CYPHER = Language(
    "MATCH … RETURN",
    words("match optional with unwind return"),
    words(
        "create merge set delete detach remove drop alter copy load attach install uninstall export import "
        "call use comment begin commit rollback checkpoint force extension macro update insert explain "
        "profile"
    ),
    re.compile(
        r"'(?:[^'\\]|\\[^uU])*'|\"(?:[^\"\\]|\\[^uU])*\"|`[^`\\]*`|//[^\n\\]*|/\*(?:(?!/\*)[^\\])*?\*/", re.DOTALL
    ),
    odd=re.compile(r"(?:\.\s*(?:\w+|'')|'')\s*\("),  # of libraries that a Neo4j may have: apoc.…(), `apoc`.…()
    mend="Only Cypher's own functions are possible here, none with a dot in its name.",
)
_WORD = re.compile(r"(?<![\w.])[a-z_]+(?!\w)", re.IGNORECASE)
_ODD = re.compile(r"['\"`\\$\0]|/\*|\*/")
_LONE_RETURN = re.compile(r"\r(?!\n)")
_GLUED = re.compile(r"(?<!\w)\d[\d.]*(?!e\d*(?![\w.]))[^\W\d]", re.IGNORECASE)  # 1SET, 1.SET, 1e5SET; not 1e5, 1.5e-3


def reading(statement: str, language: Language) -> str:
    """The one reading statement, without a closing semicolon.

    Raises:
        InvalidInput: it is longer than 8,000 characters, empty, more than one, or not a reading one.
    """
    if len(statement) > MAX_CHARS:
        raise InvalidInput(f"The statement is longer than {MAX_CHARS} characters.", field="query")
    plain = statement.strip().rstrip(";").rstrip()
    bare = language.quoted.sub(lambda found: " " if found[0][:2] in {"--", "//", "/*"} else "'' ", plain)
    if ";" in bare:
        raise InvalidInput("Send one statement at a time, without a semicolon inside.", field="query")
    if _LONE_RETURN.search(plain) or _ODD.search(bare.replace("''", "")):
        raise InvalidInput(
            "The statement holds an open quote or comment, `$`, NUL, a lone carriage return, or a backslash outside of "
            "a text or before a u. Write values as literals.", field="query",
        )  # fmt: skip
    if _GLUED.search(bare):
        raise InvalidInput("Write a space between a number and the word that follows it.", field="query")
    found = [word.lower() for word in _WORD.findall(bare)]
    if not found or found[0] not in language.begins or not bare.lstrip(" (").lower().startswith(found[0]):
        raise InvalidInput(f"Only reading is possible here: begin with {language.name}.", field="query")
    if language.odd.search(bare):
        raise InvalidInput(language.mend, field="query")
    if refused := language.refused.intersection(found):
        word = min(refused).upper()
        raise InvalidInput(f"{word} is not possible here: only reading is. Quote it if it is a name.", field="query")
    return plain

"""Which SQL and Cypher statements may run: exactly one, and one that reads. Pure.

This is the first of three layers. The second is the engine (a database opened read-only; a plan that must be a query),
the third the process in which it runs (`query_worker`: it can write to no file, and it is killed at the deadline).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import InvalidInput

MAX_CHARS = 8_000


@dataclass(frozen=True, slots=True)
class Language:
    """What a statement may begin with, which words it may not hold, and what is text rather than words in it.

    `called` are calls that are refused too.
    """

    name: str
    begins: frozenset[str]
    refused: frozenset[str]
    quoted: re.Pattern[str]
    called: re.Pattern[str] | None = None


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
    re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL),
)
CYPHER = Language(
    "MATCH … RETURN",
    words("match optional with unwind return"),
    words(
        "create merge set delete detach remove drop alter copy load attach install uninstall export import "
        "call use comment begin commit rollback checkpoint force extension macro update insert explain "
        "profile"
    ),
    re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|//[^\n]*|/\*.*?\*/", re.DOTALL),
    called=re.compile(r"(?:\.\s*(?:\w+|'')|'')\s*\("),  # of libraries that a Neo4j may have: apoc.…(), `apoc`.…()
)
_WORD = re.compile(r"(?<![\w.])[a-z_]+(?!\w)", re.IGNORECASE)


def reading(statement: str, language: Language) -> str:
    """The one reading statement, without a closing semicolon.

    Raises:
        InvalidInput: it is longer than 8,000 characters, empty, more than one, or not a reading one.
    """
    if len(statement) > MAX_CHARS:
        raise InvalidInput(f"The statement is longer than {MAX_CHARS} characters.", field="query")
    plain = statement.strip().rstrip(";").rstrip()
    bare = language.quoted.sub(lambda found: " " if found[0][:2] in {"--", "//", "/*"} else " '' ", plain)
    if ";" in bare:
        raise InvalidInput("Send one statement at a time, without a semicolon inside.", field="query")
    if "\0" in bare or "$" in bare or "/*" in bare or "*/" in bare or bare.count("'") % 2:
        raise InvalidInput(
            "The statement holds an open quote or comment, `$` or NUL. Write values as literals.", field="query"
        )
    found = [word.lower() for word in _WORD.findall(bare)]
    if not found or found[0] not in language.begins or not bare.lstrip(" (").lower().startswith(found[0]):
        raise InvalidInput(f"Only reading is possible here: begin with {language.name}.", field="query")
    if language.called and language.called.search(bare):
        raise InvalidInput("Only Cypher's own functions are possible here, none with a dot in its name.", field="query")
    if refused := language.refused.intersection(found):
        word = min(refused).upper()
        raise InvalidInput(f"{word} is not possible here: only reading is. Quote it if it is a name.", field="query")
    return plain

"""The marketplace's pages in German: everything that they say has its words, and none is left from an earlier page."""

from __future__ import annotations

import ast
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from starlette.requests import Request

from servers.marketplace import pages
from servers.marketplace.authorization.consent import MEANING as SCOPES
from servers.marketplace.invitations.page import MEANING as ROLES

FOLDER = files("templates") / "consent"
GERMAN = json.loads((FOLDER / "de.json").read_text(encoding="utf-8"))
ROOT = Path(pages.__file__).parents[2]
OF_PAGES = ("approvals/page.py", "invitations/page.py", "authorization/consent.py")


def asked_for(accept: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept-language", accept.encode())] if accept else []})


def sentences(file: Path) -> set[str]:
    """The strings of a source file, joined as Python joins them; parts of them that it computes stand as `*`."""
    found, tree = set(), ast.parse(file.read_text(encoding="utf-8"))
    told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if node in told:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values))
    return found


def test_each_sentence_of_the_templates_has_its_german_words_and_no_other_has() -> None:
    environment = pages._environment("en")
    said = {
        message if isinstance(message, str) else message[0]
        for each in FOLDER.iterdir() if each.name.endswith(".html")
        for _, _, message in environment.extract_translations(each.read_text(encoding="utf-8"))
    }  # fmt: skip
    assert said == set(GERMAN["pages"])
    holes = re.compile(r"%\(\w+\)[ds]")
    for english, german in GERMAN["pages"].items():
        assert sorted(holes.findall(english)) == sorted(holes.findall(german)), english


def test_what_the_pages_are_given_to_say_is_what_the_code_says() -> None:
    code = [path for room in ("servers/marketplace", "shared/auth") for path in (ROOT / room).rglob("*.py")]
    known = [re.escape(text).replace(r"\*", ".+") for path in code for text in sentences(path) if text.strip("*")]
    any_known = re.compile("|".join(known))
    assert [text for text in GERMAN["said"] if not any_known.fullmatch(text)] == []
    shown = {text for name in OF_PAGES for text in sentences(ROOT / "servers/marketplace" / name) if ": " in text[:-1]}
    errors = {text for text in shown if text.endswith(".")}
    meant = errors | set(SCOPES.values()) | set(ROLES.values())
    assert meant - set(GERMAN["said"]) == set()


@pytest.mark.parametrize(("accept", "language"), [("de-DE,de;q=0.9,en;q=0.8", "de"), ("en-US,de", "en"), ("", "en")])
def test_a_page_is_in_the_language_that_the_browser_asks_for(accept: str, language: str) -> None:
    wrong = "The two passwords are not the same."
    answer = pages.page(
        asked_for(accept), "approvals_sign_in.html", customer="acme", approval="", wrong=wrong
    )  # fmt: skip
    html = bytes(answer.body).decode()
    assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")
    assert f'<html lang="{language}">' in html
    assert ("Passwort</label>" in html, "beiden Passwörter" in html) == (language == "de",) * 2
    assert ("Password</label>" in html, wrong in html) == (language == "en",) * 2


@pytest.mark.parametrize("accept", ["de", "en"])
def test_a_name_is_shown_as_it_is_written_and_never_as_markup(accept: str) -> None:
    given = {"target": "https://a.example", "resource": "https://b.example", "request": "", "client": "", "wrong": ""}
    answer = pages.page(asked_for(accept), "consent.html", name="<b>100 %(x)s</b>", scopes=["<i>%"], **given)
    html = bytes(answer.body).decode()
    assert "&lt;b&gt;100 %(x)s&lt;/b&gt;" in html
    assert "&lt;i&gt;%" in html
    assert "<b>" not in html

"""The marketplace's pages in German: everything that they say has its words, and none is left from an earlier page."""

from __future__ import annotations

import ast
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from starlette.requests import Request

from servers.marketplace import pages, policy
from servers.marketplace.authorization.consent import MEANING as SCOPES
from servers.marketplace.invitations.page import MEANING as ROLES
from servers.marketplace.providers.sign_in import Way
from servers.marketplace.users.store import MAX_ACCOUNTS

FOLDER = files("templates") / "consent"
GERMAN = json.loads((FOLDER / "de.json").read_text(encoding="utf-8"))
ROOT = Path(pages.__file__).parents[2]
OF_PAGES = (
    "approvals/page.py", "invitations/page.py", "authorization/consent.py", "providers/page.py", "providers/sign_in.py",
    "forms.py",
)  # fmt: skip


def asked_for(accept: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept-language", accept.encode())] if accept else []})


def sentences(file: Path) -> set[str]:
    """The strings of a source file as patterns, joined as Python joins them; docstrings are none of them."""
    found, tree = set(), ast.parse(file.read_text(encoding="utf-8"))
    told = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told | parts:
            found.add(re.escape(node.value))
        elif isinstance(node, ast.JoinedStr):
            words = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
            if sum(len(each or "") for each in words) > 12:  # else it would fit anything
                found.add("".join(".+" if each is None else re.escape(each) for each in words))
    return found


def said_to_people(file: Path) -> set[str]:
    """What a page's handler says: its constants that are sentences."""
    texts = {re.sub(r"\\(.)", r"\1", each) for each in sentences(file)}
    return {text for text in texts if re.fullmatch(r"[A-Z][^\n]{15,}\.", text)}


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
    known = re.compile("|".join(each for path in code for each in sentences(path)))
    assert known.fullmatch("This sentence is said by nobody at all.") is None
    assert [text for text in GERMAN["said"] if not known.fullmatch(text)] == []
    meant = {text for name in OF_PAGES for text in said_to_people(ROOT / "servers/marketplace" / name)}
    assert "The two passwords are not the same." in meant
    assert (meant | set(SCOPES.values()) | set(ROLES.values())) - set(GERMAN["said"]) == set()


def test_who_is_invited_reads_in_german_too_that_there_are_too_many_accounts() -> None:
    assert f"There are {MAX_ACCOUNTS} accounts already: end some with disable_user first." in GERMAN["said"]


def test_every_scope_is_told_in_words_to_who_is_to_consent() -> None:
    assert SCOPES.keys() >= policy.ALL


@pytest.mark.parametrize(("accept", "language"), [("de-DE,de;q=0.9,en;q=0.8", "de"), ("en-US,de", "en"), ("", "en")])
def test_a_page_is_in_the_language_that_the_browser_asks_for(accept: str, language: str) -> None:
    wrong = "The two passwords are not the same."
    answer = pages.page(
        asked_for(accept), "approvals_sign_in.html", customer="acme", approval="", wrong=wrong, email="", ways=[]
    )  # fmt: skip
    html = bytes(answer.body).decode()
    assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")
    assert f'<html lang="{language}">' in html
    heading = "Änderungen, die auf Sie warten" if language == "de" else "Changes that wait for you"
    assert f"<title>{heading} · 0711 MCP Central</title>" in html
    assert ("Passwort</label>" in html, "beiden Passwörter" in html) == (language == "de",) * 2
    assert ("Password</label>" in html, wrong in html) == (language == "en",) * 2
    field = re.findall(r'<input id="password"[^>]*>', html)[0]  # who hears the page is where the error is told
    assert ('aria-describedby="wrong"' in field, "autofocus" in field, 'id="wrong" role="alert"' in html) == (True,) * 3


@pytest.mark.parametrize("accept", ["de", "en"])
def test_a_name_is_shown_as_it_is_written_and_never_as_markup(accept: str) -> None:
    given = {
        "target": "https://a.example",
        "resource": "https://b.example",
        "customer": "",
        "request": "",
        "client": "",
        "wrong": "",
        "email": "",
        "signed_in": "",
        "ways": [Way("<u>%(name)s</u>", "/oauth/provider?a=1&b='\"")],
    }
    answer = pages.page(asked_for(accept), "consent.html", name="<b>100 %(x)s</b>", scopes=["<i>%"], **given)
    html = bytes(answer.body).decode()
    assert "&lt;b&gt;100 %(x)s&lt;/b&gt;" in html
    assert "&lt;i&gt;%" in html
    assert "&lt;u&gt;%(name)s&lt;/u&gt;" in html
    assert 'href="/oauth/provider?a=1&amp;b=&#39;&#34;"' in html
    assert "<b>" not in html


def test_the_page_has_words_for_every_scope_that_somebody_holds() -> None:
    assert frozenset().union(*policy.SCOPES_OF_ROLE.values()) == set(SCOPES)

"""The console's words in German and English."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "de": {
        "search": "Suchen", "documents": "Dokumente",
        "placeholder": "Frage, Stichwort oder Artikelnummer",
        "login": "Anmelden", "logout": "Abmelden", "key": "Zugangsschlüssel",
        "wrong_key": "Dieser Schlüssel passt nicht.",
        "key_hint": "Der Schlüssel steht im Protokoll des ersten Starts oder in INSTANCE_ACCESS_KEY.",
        "page": "Seite", "no_hits": "Nichts gefunden. Bitte andere Wörter versuchen.", "passages": "Textstellen",
        "products": "Artikel", "pages": "Seiten", "files": "Dateien", "failed": "nicht lesbar", "more": "Weiter",
        "state": "Zustand", "title": "Titel", "file": "Datei", "processed": "gelesen", "back": "Zurück zur Suche",
        "not_found": "Diese Seite gibt es nicht.", "intro": "Durchsucht alle Dokumente und Artikel dieses Bestands.",
        "examples": "Zum Beispiel", "language": "English", "error": "Das hat nicht geklappt",
    },
    "en": {
        "search": "Search", "documents": "Documents", "placeholder": "Question, words or article number",
        "login": "Sign in", "logout": "Sign out", "key": "Access key", "wrong_key": "This key does not fit.",
        "key_hint": "The key is in the log of the first start, or in INSTANCE_ACCESS_KEY.",
        "page": "page", "no_hits": "Nothing found. Try other words.", "passages": "passages",
        "products": "products", "pages": "pages", "files": "files", "failed": "unreadable", "more": "More",
        "state": "State", "title": "Title", "file": "File", "processed": "read", "back": "Back to search",
        "not_found": "There is no such page.", "intro": "Searches all documents and products of this collection.",
        "examples": "For example", "language": "Deutsch", "error": "That did not work",
    },
}  # fmt: skip


def language(chosen: str | None, accepted: str | None) -> str:
    """`de` or `en`: the one chosen, else the first that the browser accepts, else German."""
    if chosen in TEXTS:
        return chosen
    for part in (accepted or "").split(","):
        code = part.split(";")[0].strip().lower()[:2]
        if code in TEXTS:
            return code
    return "de"

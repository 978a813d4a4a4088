"""The console's words in German and English."""

from __future__ import annotations

from typing import Any

from servers.instance.search import (
    COMPARES,
    ONLY_MEANING,
    SAID_BY_NONE,
    SIMILAR_NUMBERS,
    SOME_UNKNOWN,
    UNKNOWN_CODE,
)

# The ledger's reasons are English sentences with a fixed word each; German readers get these instead.
FAILURES_DE = {
    "broken_link": "Die Verknüpfung führt ins Leere.",
    "changed": "Die Datei hat sich geändert, während sie gelesen wurde. Starten Sie den Lauf noch einmal.",
    "cannot_open": "Die Datei ließ sich nicht öffnen. Legen Sie sie noch einmal ab, mit einem einfachen Namen.",
    "damaged": "Die Datei ist beschädigt. Speichern Sie sie in ihrem Programm neu.",
    "embedding_failed": "Eine Textstelle der Datei ließ sich nicht einbetten. Starten Sie den Lauf noch einmal.",
    "empty": "Die Datei ist leer. Legen Sie sie noch einmal ab.",
    "encrypted": "Die Datei ist mit einem Kennwort geschützt. Speichern Sie sie ohne Kennwort.",
    "folder_unreadable": "Der Ordner ließ sich nicht öffnen.",
    "image_too_large": "Das Bild hat mehr Bildpunkte als erlaubt.",
    "link_outside": "Die Verknüpfung führt aus dem Ordner hinaus und wurde nicht verfolgt.",
    "link_to_folder": "Die Verknüpfung führt zu einem Ordner, der an seiner eigenen Stelle gelesen wird.",
    "memory_limit": "Die Datei braucht mehr Speicher als erlaubt. Teilen Sie sie.",
    "not_a_file": "Das ist keine Datei, sondern ein Gerät oder ein Kanal.",
    "ocr_failed": "Auf den Bildern ließ sich kein Text erkennen.",
    "platform_folder": "Das ist ein Ordner der Plattform selbst; seine Dateien werden nicht gelesen.",
    "refused": "Der Inhalt wurde bei der Verarbeitung abgelehnt.",
    "reader_crashed": "Der Leser ist an dieser Datei gescheitert. Speichern Sie sie in ihrem Programm neu.",
    "time_limit": "Die Datei zu lesen dauert länger als erlaubt. Teilen Sie sie.",
    "too_deep": "Die Datei ist zu tief verschachtelt.",
    "too_large": "Die Datei ist größer als erlaubt. Teilen Sie sie.",
    "too_many_pages": "Die Datei hat mehr Seiten als erlaubt. Teilen Sie sie.",
    "too_many_parts": "Die Datei hat mehr Teile als erlaubt.",
    "unsupported_format": "Dieses Dateiformat wird nicht gelesen. Speichern Sie das Dokument als PDF, DOCX, XLSX, CSV, "
    "HTML oder Text.",
    "unsupported_transaction": "Diese Art von Katalogaustausch wird nicht gelesen.",
    "xml_entities": "Die Datei bindet Fremdes ein (XML-Entitäten) und wurde nicht gelesen.",
    "zip_bomb": "Die gepackte Datei wird ausgepackt zu groß.",
}

NOTES_DE = {
    UNKNOWN_CODE: ": Keine Textstelle enthält diese Nummer oder Größe. Die folgenden ähneln nur dem, was gefragt ist.",
    SOME_UNKNOWN: ": Keine Textstelle enthält diese Nummer oder Größe.",
    SIMILAR_NUMBERS: ": Die Nummer selbst steht nirgends. Diese beginnen so, enthalten sie oder ähneln ihr.",
    SAID_BY_NONE: ": Das steht in keiner der folgenden Textstellen. Sie sagen es anders, oder nichts davon.",
    COMPARES: "Die Suche vergleicht und zählt nicht. Sie zeigt nur Textstellen, die zur Frage passen.",
    ONLY_MEANING: "Keine Textstelle enthält diese Wörter. Die folgenden sind nur dem Sinn nach am nächsten.",
}


def note_in(notes: dict[str, str], note: str) -> str:
    """A search's note in a language; what it names stays as it is."""
    for said, told in notes.items():
        note = note.replace(said, told)
    return note


TEXTS: dict[str, dict[str, Any]] = {
    "de": {
        "failures": FAILURES_DE,
        "search": "Suchen", "documents": "Dokumente",
        "placeholder": "Frage, Stichwort oder Artikelnummer",
        "login": "Anmelden", "logout": "Abmelden", "key": "Zugangsschlüssel",
        "wrong_key": "Dieser Schlüssel passt nicht.",
        "key_hint": "Der Schlüssel steht im Protokoll des ersten Starts oder in INSTANCE_ACCESS_KEY.",
        "page": "Seite", "no_hits": "Nichts gefunden. Bitte andere Wörter versuchen.", "passages": "Textstellen",
        "products": "Artikel", "pages": "Seiten", "files": "Dateien", "failed": "nicht lesbar", "more": "Weiter",
        "state": "Zustand", "dated": "Stand", "document": "Dokument", "processed": "gelesen",
        "back": "Zurück zur Suche", "no_passages": "Aus dieser Datei wurde kein Text gewonnen.",
        "no_text": "In diesem Bestand gibt es keinen Text zum Durchsuchen. Warum, steht bei den Dokumenten.",
        "intro": "Durchsucht alle Dokumente und Artikel dieses Bestands.",
        "examples": "Zum Beispiel", "language": "English", "error": "Das hat nicht geklappt",
        "errors": {
            "not_found": "Diese Seite oder dieses Dokument gibt es nicht.",
            "invalid_input": "Diese Adresse stimmt nicht. Bitte von der Suche oder den Dokumenten aus weitergehen.",
            "unavailable": "Der Bestand wird gerade geöffnet. Bitte in einem Augenblick noch einmal versuchen.",
            "deadline_exceeded": "Die Suche dauerte zu lange. Bitte mit weniger oder anderen Wörtern versuchen.",
            "nothing_here": "An dieser Adresse gibt es keine Seite. Programme verbinden sich unter /mcp.",
            "internal": "Hier ist ein Fehler aufgetreten. Das Protokoll der Instanz sagt mehr.",
        },
        "notes": NOTES_DE,
    },
    "en": {
        "failures": {},
        "search": "Search", "documents": "Documents", "placeholder": "Question, words or article number",
        "login": "Sign in", "logout": "Sign out", "key": "Access key", "wrong_key": "This key does not fit.",
        "key_hint": "The key is in the log of the first start, or in INSTANCE_ACCESS_KEY.",
        "page": "page", "no_hits": "Nothing found. Try other words.", "passages": "passages",
        "products": "products", "pages": "pages", "files": "files", "failed": "unreadable", "more": "More",
        "state": "State", "dated": "As of", "document": "Document", "processed": "read",
        "back": "Back to search", "no_passages": "No text was found in this file.",
        "no_text": "This collection holds no text to search. The documents say why.",
        "intro": "Searches all documents and products of this collection.",
        "examples": "For example", "language": "Deutsch", "error": "That did not work",
        "errors": {
            "not_found": "There is no such page or document.",
            "invalid_input": "This address is wrong. Go on from the search or the documents.",
            "unavailable": "The collection is just being opened. Try again in a moment.",
            "deadline_exceeded": "The search took too long. Try fewer or other words.",
            "nothing_here": "There is no page at this address. Programs connect at /mcp.",
            "internal": "Something failed here. The instance's log says more.",
        },
        "notes": {},
    },
}  # fmt: skip

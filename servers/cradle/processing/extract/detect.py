"""What a file is: by its content first, by its extension where the content leaves it open."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath

from servers.cradle.processing.extract.compound import BROKEN, opened
from servers.cradle.processing.extract.containers import check_zip, part_blocks
from servers.cradle.processing.extract.encoding import encoding_of
from servers.cradle.processing.extract.extractor import Locked, Unreadable

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLS = "application/vnd.ms-excel"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODT = "application/vnd.oasis.opendocument.text"
ODP = "application/vnd.oasis.opendocument.presentation"
DOC = "application/msword"
RTF = "application/rtf"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
PPT = "application/vnd.ms-powerpoint"
BMECAT = "application/x-bmecat+xml"
EML = "message/rfc822"
MSG = "application/vnd.ms-outlook"
CMS = "application/pkcs7-mime"
TNEF = "application/ms-tnef"
TNEF_MARK = b"\x78\x9f\x3e\x22"
ZIP = "application/zip"
TAR = "application/x-tar"
GZIP = "application/gzip"
BZIP2 = "application/x-bzip2"
XZ = "application/x-xz"
OLE = "application/x-ole-storage"
UNKNOWN = "application/octet-stream"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"GIF8", "image/gif"),
    (b"\x1f\x8b", GZIP),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\x00", XZ),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-elf"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"{\\rtf", RTF),
    (TNEF_MARK, TNEF),
    (b"%!PS", "application/postscript"),
)
_EXTENSIONS = {
    ".csv": "text/csv",
    ".tsv": "text/csv",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".json": "application/json",
    ".jsonl": "application/json",
    ".ndjson": "application/json",
    ".eml": EML,
    ".mbox": EML,
    ".xml": "application/xml",
}
_EXPECTED = {
    ".pdf": {PDF},
    ".docx": {DOCX},
    ".docm": {DOCX},
    ".doc": {DOC},
    ".dot": {DOC},
    ".rtf": {RTF},
    ".xlsx": {XLSX},
    ".xlsm": {XLSX},
    ".xls": {XLS},
    ".ods": {ODS},
    ".odt": {ODT},
    ".odp": {ODP},
    ".ppt": {PPT},
    ".pps": {PPT},
    ".pptx": {PPTX},
    ".pptm": {PPTX},
    ".msg": {MSG},
    ".zip": {ZIP},
    ".tar": {TAR},
    ".png": {"image/png"},
    ".jpg": {"image/jpeg"},
    ".jpeg": {"image/jpeg"},
    ".tif": {"image/tiff"},
    ".tiff": {"image/tiff"},
    ".webp": {"image/webp"},
    ".bmp": {"image/bmp"},
    ".xml": {"application/xml", BMECAT, "text/html"},
}
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCKED = "encrypted"
_COMPOUND_MARKS = (
    ("EncryptedPackage", _LOCKED),
    ("__substg1.0_", MSG),
    ("WordDocument", DOC),
    ("PowerPoint Document", PPT),
    ("Workbook", XLS),
    ("Book", XLS),
)
# ContentInfo of what is signed or encrypted: PKCS #7's types, then those of CMS (RFC 5083, 3274)
CMS_BEGIN = re.compile(
    rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)"
    rb"(\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x02\x03]|\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17)",
    re.DOTALL,
)
_MAIL_HEADER = re.compile(
    rb"^(from|to|cc|subject|date|received|return-path|mime-version|message-id|delivered-to|content-type|x-[a-z-]+):",
    re.IGNORECASE,
)
_ROOT = re.compile(r"<(?![?!])(?:[\w.-]+:)?([\w.-]+)")


def media_type(data: bytes, name: str) -> str:
    """The media type of a file. `UNKNOWN` where nothing fits.

    Raises:
        Unreadable: empty, damaged, encrypted, or a container whose declared sizes are out of bounds.
    """
    if not data:
        raise Unreadable("empty", "The file has no content (0 bytes). Send it again from its source.")
    if b"%PDF-" in data[:1024]:
        return PDF
    if is_container(data):
        return _compound(data) if data.startswith(_COMPOUND) else _zip(data)
    return _marked(data) or _text(data, PurePosixPath(name).suffix.lower())


def is_container(head: bytes) -> bool:
    """Whether the file is a container, whose kind only all of it tells; of others the first 64 KiB do."""
    return head.startswith((*_ZIPS, _COMPOUND)) and b"%PDF-" not in head[:1024]


def unsupported(kind: str) -> Unreadable:
    """Says that files of this media type have no reader."""
    what = "The content fits no known format" if kind == UNKNOWN else f"Files of the kind {kind} are not read yet"
    return Unreadable("unsupported_format", f"{what}. Send the document as PDF, DOCX, XLSX, CSV, HTML or text.")


def mismatch(kind: str, name: str) -> bool:
    """Whether the extension promises another format than the content is."""
    expected = _EXPECTED.get(PurePosixPath(name).suffix.lower())
    return expected is not None and kind not in expected


def _marked(data: bytes) -> str | None:
    """The type by a mark in the first bytes; short marks count only where the rest is no text."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if is_tar(data[:512]):
        return TAR
    if CMS_BEGIN.match(data):
        return CMS
    fitting = (kind for magic, kind in _MAGIC if data.startswith(magic) and not (len(magic) <= 3 and _is_text(data)))
    return next(fitting, None)


def is_tar(head: bytes) -> bool:
    """Whether a block of 512 bytes begins a TAR archive: by its mark, or in the old form by its checksum."""
    if head[257:262] == b"ustar":
        return True
    digits = head[148:156].strip(b" \x00")
    if len(head) < 512 or not digits.isdigit() or not head[0]:
        return False
    try:
        return int(digits, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:512])
    except ValueError:
        return False


def _is_text(data: bytes) -> bool:
    return encoding_of(data[:4096]) in ("utf-8", "cp1252")


def _zip(data: bytes) -> str:
    archive = check_zip(data)
    names = set(archive.namelist())
    if "EncryptedPackage" in names:
        raise Locked
    if "xl/workbook.bin" in names:
        return XLSB
    for start, kind in (("word/document", DOCX), ("xl/workbook", XLSX), ("ppt/presentation", PPTX)):
        if any(re.fullmatch(rf"{start}\d*\.xml", name) for name in names):
            return kind
    if "mimetype" in names:
        return _opendocument(archive)
    return ZIP


def _opendocument(archive: zipfile.ZipFile) -> str:
    kind = next(part_blocks(archive, "mimetype", 100), b"").decode("ascii", "ignore").strip()
    return kind if kind.startswith("application/") else ZIP


def _compound(data: bytes) -> str:
    names = [name.lower() for name in _outermost(data)]
    found = (kind for mark, kind in _COMPOUND_MARKS if any(name.startswith(mark.lower()) for name in names))
    if (kind := next(found, OLE)) == _LOCKED:
        raise Locked
    return kind


def _outermost(data: bytes) -> set[str]:
    """The names in a compound file, those of files embedded in it left out; where its directory is damaged, the marks
    of formats that stand anywhere in it."""
    try:
        with opened(data) as file:
            return {path[0] for path in file.paths}
    except BROKEN:
        return {mark for mark, _ in _COMPOUND_MARKS if mark.encode("utf-16-le") in data}


def _text(data: bytes, extension: str) -> str:
    head = data[:65536]
    encoding = encoding_of(head)
    if encoding is None:
        return UNKNOWN
    text = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return _markup(text, extension)
    if extension == ".eml" or _mail_headers(head) >= 3:
        return EML
    if extension in (".json", ".jsonl", ".ndjson") or (extension == "" and text[:1] in ("{", "[")):
        return "application/json"
    kind = _EXTENSIONS.get(extension, "text/plain")
    return "text/plain" if kind == "application/xml" else kind


def _markup(text: str, extension: str) -> str:
    lower = text[:2048].lower()
    root = _ROOT.search(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    name = root.group(1).lower() if root else ""
    if name == "bmecat":
        return BMECAT
    if "<!doctype html" in lower or name == "html":
        return "text/html"
    if lower.startswith("<?xml") or extension == ".xml":
        return "application/xml"
    return _EXTENSIONS.get(extension, "text/html" if "</" in lower else "text/plain")


def _mail_headers(head: bytes) -> int:
    block = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    return sum(1 for line in io.BytesIO(block) if _MAIL_HEADER.match(line))

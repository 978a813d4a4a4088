"""What the headers of columns name: roles in a product, German or English, units, and of prices quantities. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from servers.cradle.processing.extract.pair_lists import NEW, NUMBERED_ACCESSORIES, NUMBERED_PARTS
from servers.cradle.processing.extract.quantities import (
    currencies_of,
    currency_of,
    is_counted,
    is_package,
    priced_for,
    priced_from,
)
from servers.cradle.processing.extract.terms import TAX
from servers.cradle.processing.extract.validity import DATE, Validity, validity_of

_FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_UNIT = re.compile(r"^(?P<name>.+?)\s*[\[(](?:in\s+)?(?P<unit>[^\])]{1,12})[\])]$")
_NAMES = re.compile(r"[^\W\d_]|[€$£]")
_OTHER_SIGNS = re.compile(r"[^a-z0-9]+")
_NUMBERED = re.compile(r"(?<=staffel)\d|(?<=[a-z])(?:[1-9]|20[23]\d)$")
_SAYS_HOW = re.compile(r"(ineuro|ineur|euro|eur|chf|usd|netto|brutto|de|deu|en|eng)$")
_OF_A_PIECE = re.compile(r"stückpreis\b", re.IGNORECASE)
_WORD = re.compile(r"[\W\d]")
_OF_A_PACKAGE = re.compile(r"(?<!\w)(?:VPE|VE)\b.*\d")
_DATED = re.compile(
    rf"(.+?)\s*[(\[]?(?:gültig\s|valid\s)?(?<!\w)(ab|seit|from|bis|until)\s(?:dem\s|zum\s)?({DATE})[)\]]?(?:\s(EUR|€|CHF|USD|GBP))?",
    re.IGNORECASE,
)
_QUANTITY = re.compile(r"(?:ab)?(?:menge|staffel|qty|quantity)([1-9])")

_COLUMNS = {
    "article": (
        "artikelnummer artikelnr artnr artikelno artikelid bestellnummer bestellnr bestnr materialnummer materialnr "
        "produktnummer produktnr sachnummer typnummer supplieraid supplierpid articlenumber articleno articlenr "
        "itemnumber itemno partnumber partno productnumber productno productid ordernumber orderno sku ordercode "
        "bestellcode artno artikelcode articlecode itemcode productcode matnr sachnr identnummer identnr"
    ),
    "gtin": "ean gtin eancode eannummer eannr gtincode ean13 gtin13 barcode upc eangtin gtinean",
    "name": (
        "bezeichnung artikelbezeichnung produktbezeichnung produktname artikelname kurztext kurzbezeichnung "
        "kurzbeschreibung benennung name productname articlename itemname title titel description shortdescription "
        "descriptionshort bez artikelbez artbez"
    ),
    "description": (
        "langtext langbeschreibung beschreibung artikelbeschreibung produktbeschreibung longdescription "
        "descriptionlong longtext details"
    ),
    "manufacturer": "hersteller herstellername marke manufacturer manufacturername brand",
    "manufacturer_number": (
        "herstellernummer herstellernr herstellerartikelnummer herstellerartikelnr herstellerteilenummer mpn "
        "manufacturernumber manufacturerpartnumber manufacturerpartno manufacturerpid manufactureraid"
    ),
    "type_name": "typ type typbezeichnung typenbezeichnung modell model",
    "price": (
        "preis listenpreis bruttopreis nettopreis bruttolistenpreis verkaufspreis vkpreis uvp stueckpreis einzelpreis "
        "staffelpreis price listprice grossprice netprice unitprice tierprice scaleprice rrp"
    ),
    "currency": "waehrung currency whg",
    "order_unit": "einheit mengeneinheit bestelleinheit me unit orderunit uom",
    "price_quantity": (
        "preiseinheit pe preismenge priceunit pricequantity preisbasis preiseinh peh peinh priceper preisje preispro "
        "preisper preisbezugsmenge bezugsmenge basismenge preisfuermenge preismengeneinheit pricebasis pricebase "
        "je pro per pricingunit priceunitquantity pricebasisquantity"
    ),
    "lower_bound": (
        "mindestmenge mindestbestellmenge staffelmenge staffelab staffelabmenge staffelabstueck abmenge abstueck "
        "mengeab lowerbound minquantity fromquantity tierquantity moq"
    ),
    "valid_from": "gueltigab gueltigvon preisgueltigab validfrom pricevalidfrom",
    "valid_to": "gueltigbis preisgueltigbis validto validuntil pricevalidto pricevaliduntil",
    "followup": (
        "nachfolger nachfolgeartikel nachfolgeprodukt nachfolgetyp nachfolgernummer nachfolgernr nachfolgerartikel "
        "nachfolgerartikelnummer nachfolgerartikelnr nachfolgeartikelnummer nachfolgeartikelnr ersetztdurch successor "
        f"replacedby supersededby {NEW}"
    ),
    "accessories": f"zubehoer zubehoerartikel accessories accessory {NUMBERED_ACCESSORIES}",
    "sparepart": f"ersatzteil ersatzteile sparepart spareparts {NUMBERED_PARTS}",
    "fits": (
        "passendzu passendfuer passendzuartikel passendfuerartikel kompatibelmit zubehoerzu zubehoerfuer "
        "compatiblewith fits fitsmachine fuerartikel fuergeraet fuermaschine"
    ),
    "replaces": "ersatzfuer ersetzt ersetztartikel vorgaenger vorgaengerartikel predecessor replacementfor replaces",
    "group": ("warengruppe produktgruppe artikelgruppe kategorie category productgroup productcategory group gruppe"),
    "packing": (
        "vpe ve verpackungseinheit verpackungsmenge packungsinhalt packungsgroesse packunit packingunit packagingunit "
        "packsize packagesize packqty packquantity"
    ),
}
_ENGLISH_PRICES = {
    "preis": "price", "listenpreis": "listprice", "bruttopreis": "grossprice", "nettopreis": "netprice",
    "stueckpreis": "unitprice", "einzelpreis": "unitprice", "staffelpreis": "tierprice",
}  # fmt: skip
MAX_HEADER = 100  # signs of a header that comes again below others
NUMBERS = ("article", "gtin")
_STARTS = re.compile(
    rf"[\W_]*(?:{'|'.join({word[:3] for role in NUMBERS for word in _COLUMNS[role].split()})})", re.IGNORECASE
)
_ROLE_OF = {word: role for role, words in _COLUMNS.items() for word in words.split()}


def role_of(header: str) -> str | None:
    """The role that a column's header names, None where it is any other property."""
    if not _NAMES.search(header):
        return None  # most cells of a table: digits alone
    return _role_said(header) if len(header) <= MAX_HEADER else _role_said.__wrapped__(header)


@lru_cache(maxsize=1024)  # a table's first rows are looked at for its delimiter, its header, and the header's next one
def _role_said(header: str) -> str | None:
    name, unit = split_unit(header)
    return (
        _role(name)
        or (_role(header) if unit else None)
        or (_in_two_languages(name) if len(set(currencies_of(header))) < 2 else None)
        or ("price" if _is_price(stated(header)[0], header) or dated(header) else None)
    )


def dated(header: str) -> Validity | None:
    """From when or to when prices hold whose header says it: `Preis ab 01.07.2026`. None where it does not."""
    found = _DATED.fullmatch(" ".join(header.split())) if len(header) <= MAX_HEADER else None
    if found is None or _role(f"{found[1]} {found[4] or ''}") != "price":
        return None
    said = validity_of([f"gültig {found[2]} {found[3]}"])
    return said if said is not None and not said.unclear else None


def scaled(headers: Sequence[str], roles: Sequence[str | None]) -> list[int]:
    """The columns that say from which quantity on the price beside them holds: `Menge 1; Preis 1; Menge 2; Preis 2`."""
    found = []
    for at, (header, name) in enumerate(pairwise(headers)):
        of = _QUANTITY.fullmatch(folded(header)) if roles[at] is None and roles[at + 1] == "price" else None
        found += [at] if of and re.findall(r"\d+", name) == [of[1]] else []
    return found if len(found) > 1 else []


@lru_cache(maxsize=1024)
def is_price_alone(header: str) -> bool:
    """Whether a price's header says nothing that may be a currency: quantity, unit, day and tax are none, but
    `Preis (SEK)` says one."""
    name, unit = split_unit(stated(header)[0])
    if not (is_counted(unit) or is_package(_WORD.split(unit)[0]) or TAX.fullmatch(unit)):
        return False
    return not name or is_counted(name) or "price" in (_role(name), _in_two_languages(name)) or dated(name) is not None


def names_numbers(header: str) -> bool:
    """Whether a column's header names article numbers or GTINs. Quick: most cells are told by their first letters."""
    return len(header) <= MAX_HEADER and _STARTS.match(header) is not None and role_of(header) in NUMBERS


def _role(header: str) -> str | None:
    name = folded(header)
    name = _NUMBERED.sub("", name) if name not in _ROLE_OF else name
    return _ROLE_OF.get(name) or _ROLE_OF.get(_bare(name))


def _bare(header: str) -> str:
    """A header without what it says of currency, tax or language behind its name."""
    return _SAYS_HOW.sub("", folded(header))


def folded(header: str) -> str:
    """A header's letters and digits alone, in lower case and without umlauts: `artikelnr` of `Artikel-Nr.`."""
    return _OTHER_SIGNS.sub("", header.lower().replace("€", "eur").translate(_FOLD))


def _in_two_languages(header: str) -> str | None:
    """The role that both sides of a slash name: `Artikel-Nr. / Item No.`, `Preis / Price`; `Preis / UVP` are two."""
    sides = header.split("/")
    roles = {_role(each) for each in sides} if len(sides) == 2 else set()
    if roles == {"price"} and _ENGLISH_PRICES.get(_bare(sides[0])) != _bare(sides[1]):
        return None
    return roles.pop() if len(roles) == 1 else None


def split_unit(header: str) -> tuple[str, str]:
    """A header without the unit in brackets behind it, and that unit: `Länge`, `mm`."""
    match = _UNIT.match(header.strip())
    return (match.group("name"), match.group("unit")) if match else (header.strip(), "")


def stated(header: str) -> tuple[str, str, str]:
    """A price's header without what it says of quantities, the quantity that it is for, and the least one.

    `Preis (VPE 50)` may mean either; what is given for it names no quantity.
    """
    name, quantity = priced_for(header.strip())
    name, bound = priced_from(name)
    if quantity or bound:
        return name, quantity, bound
    if _OF_A_PIECE.match(header.strip()):
        return name, "Stück", ""
    return name, header if _OF_A_PACKAGE.search(header) else "", ""


def _is_price(name: str, header: str) -> bool:
    """Whether a header that names a quantity is a price's: `Preis je 100`, `EUR/Stk`."""
    return name != header.strip() and (_role(name) == "price" or (not name and bool(currency_of(header))))

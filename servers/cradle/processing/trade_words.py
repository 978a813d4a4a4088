"""Words for the codes of catalogues, in German and English: a reader and an embedding model know `Stück`, not `C62`.

Units are of UN/ECE Recommendation 20 and packages of its Recommendation 21, which BMEcat names; kinds of prices,
references and media, and the names of elements are BMEcat's own (1.2 and 2005), MD01 and the like those of ETIM's
guideline for BMEcat. The code stays beside its word, so that who searches for it finds it. Only codes whose meaning is
certain are here; any other text is left as it is.
"""

from __future__ import annotations

_UNITS = {
    "Stück|piece": "C62 H87 PCE EA NAR", "Paar|pair": "PR NPR", "Satz|set": "SET", "Dutzend|dozen": "DZN DZP",
    "Hundert|hundred": "CEN", "Tausend|thousand": "MIL", "Meter|metre": "MTR", "Kilometer|kilometre": "KMT",
    "Quadratmeter|square metre": "MTK", "Kubikmeter|cubic metre": "MTQ", "Liter|litre": "LTR",
    "Kilogramm|kilogram": "KGM", "Gramm|gram": "GRM", "Tonne|tonne": "TNE", "Stunde|hour": "HUR",
    "Minute|minute": "MIN", "Sekunde|second": "SEC", "Tag|day": "DAY", "Woche|week": "WEE", "Monat|month": "MON",
    "Jahr|year": "ANN",
    "Packung|package": "PK XPK", "Karton|carton": "CT XCT", "Box|box": "BX XBX", "Rolle|roll": "RO XRO",
    "Spule|reel": "RL XRL", "Beutel|bag": "BG XBG", "Bund|bundle": "BE XBE", "Palette|pallet": "PX XPX",
    "Trommel|drum": "DR XDR", "Flasche|bottle": "BO XBO", "Tube|tube": "TU XTU",
    "mm": "MMT", "cm": "CMT", "dm": "DMT", "µm": "4H", "nm": "C45", "mm²": "MMK", "cm²": "CMK", "cm³": "CMQ",
    "mm³": "MMQ", "ml": "MLT", "hl": "HLT", "mg": "MGM", "ms": "C26", "V": "VLT", "mV": "2Z", "kV": "KVT", "A": "AMP",
    "mA": "4K", "µA": "B84", "W": "WTT", "mW": "C31", "kW": "KWT", "MW": "MAW", "Wh": "WHR", "kWh": "KWH",
    "VA": "D46", "kVA": "KVA", "kvar": "KVR", "Ω": "OHM", "kΩ": "B49", "MΩ": "B75", "Hz": "HTZ", "kHz": "KHZ",
    "MHz": "MHZ", "GHz": "A86", "µF": "4O", "nF": "C41", "pF": "4T", "mH": "C14", "°C": "CEL", "K": "KEL", "bar": "BAR",
    "mbar": "MBR", "Pa": "PAL", "hPa": "A97", "kPa": "KPA", "MPa": "MPA", "N": "NEW", "kN": "B47", "Nm": "NU",
    "J": "JOU", "kJ": "KJO", "lm": "LUM", "lx": "LUX", "cd": "CDL", "cd/m²": "A24", "%": "P1", "°": "DD", "dB": "2N",
    "m³/h": "MQH", "l/min": "L2", "l/h": "E32", "m/s": "MTS", "U/min|rpm": "RPM", "g/m²": "GM", "kg/m³": "KMQ",
    "Zoll|inch": "INH", "Fuß|foot": "FOT", "Pfund|pound": "LBR",
}  # fmt: skip
_PRICES = {
    "net_list": "Nettolistenpreis|net list price",
    "gros_list": "Bruttolistenpreis|gross list price",
    "net_customer": "Kundennettopreis|customer's net price",
    "net_customer_exp": "Kundennettopreis bei Expresslieferung|customer's net price, express delivery",
    "nrp": "unverbindliche Preisempfehlung|recommended retail price",
}
_REFERENCES = {
    "accessories": "Zubehör|accessory",
    "base_product": "Grundartikel|base article",
    "consists_of": "besteht aus|consists of",
    "diff_orderunit": "in anderer Bestelleinheit|in another order unit",
    "fits": "passend zu|fits",
    "followup": "Nachfolger|successor",
    "mandatory": "wird dazu benötigt|mandatory with it",
    "replaces": "Ersatz für|replaces",
    "select": "zur Auswahl dazu|to choose from",
    "similar": "ähnlicher Artikel|similar article",
    "sparepart": "Ersatzteil|spare part",
}
_MEDIA = {
    "data_sheet": "Datenblatt|data sheet",
    "detail": "Detailbild|detail picture",
    "MD01": "Produktbild|product picture",
    "MD03": "Sicherheitsdatenblatt|safety data sheet",
    "MD04": "Produktseite|product page",
    "MD06": "Energielabel|energy label",
    "MD09": "Zertifikat|certificate",
    "MD10": "Schaltplan|circuit diagram",
    "MD12": "Maßzeichnung|dimensioned drawing",
    "MD14": "Bedienungsanleitung|instructions for use",
    "MD20": "Milieubild|ambient picture",
    "MD21": "Montageanleitung|mounting instruction",
    "MD22": "Datenblatt|data sheet",
    "MD32": "technische Information|technical information",
    "MD37": "3D- oder BIM-Modell|3D or BIM object",
    "MD51": "Leistungserklärung|declaration of performance",
    "MD52": "EG-Konformitätserklärung|CE declaration of conformity",
    "icon": "Symbol|icon",
    "logo": "Logo|logo",
    "normal": "Bild|picture",
    "thumbnail": "Vorschaubild|thumbnail",
}
_ELEMENTS = {
    "BUYER_PID": "Artikelnummer des Kunden|buyer's article number",
    "CONTENT_UNIT": "Inhaltseinheit|content unit",
    "COUNTRY_OF_ORIGIN": "Ursprungsland|country of origin",
    "CUSTOMS_NUMBER": "Zolltarifnummer|customs tariff number",
    "CUSTOMS_TARIFF_NUMBER": "Zolltarifnummer|customs tariff number",
    "DELIVERY_TIME": "Lieferzeit|delivery time",
    "NO_CU_PER_OU": "Inhaltseinheiten je Bestelleinheit|content units per order unit",
    "PRICE_QUANTITY": "Preismenge|price quantity",
    "PRODUCT_STATUS": "Status|status",
    "QUANTITY_INTERVAL": "Bestellmenge in Schritten von|order quantity in steps of",
    "QUANTITY_MAX": "höchste Bestellmenge|largest order quantity",
    "QUANTITY_MIN": "Mindestbestellmenge|minimum order quantity",
    "REMARKS": "Bemerkung|remark",
    "SUPPLIER_ALT_PID": "weitere Artikelnummer|alternative article number",
    "DEPTH": "Tiefe|depth",
    "LENGTH": "Länge|length",
    "VOLUME": "Volumen|volume",
    "WEIGHT": "Gewicht|weight",
    "WIDTH": "Breite|width",
}
_WORD_OF = {
    "unit": {code: words for words, codes in _UNITS.items() for code in codes.split()},
    "price": _PRICES,
    "reference": _REFERENCES,
    "media": _MEDIA,
}


def worded(kind: str, code: str, language: str) -> str:
    """The code's word and the code, `Stück (C62)`; a code without a word alone.

    Args:
        kind: `unit`, `price`, `reference` or `media`.
        language: `de` or `en`.
    """
    words = _WORD_OF[kind].get(code)
    return f"{_chosen(words, language)} ({code})" if words else code


def element_worded(path: str, language: str) -> str:
    """The word and the name of an element of BMEcat, of which `path` leads to it; without a word the path."""
    element = path.rpartition("/")[2]
    name = element.partition("[")[0].replace("ARTICLE", "PRODUCT").replace("_AID", "_PID")
    words = _ELEMENTS.get(name)
    return f"{_chosen(words, language)} ({element})" if words else path


def _chosen(words: str, language: str) -> str:
    german, _, english = words.partition("|")
    return english if english and language == "en" else german

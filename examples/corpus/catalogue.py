"""The made-up maker's products: one table behind price list, stock list, catalogue and data sheets."""

from __future__ import annotations

from dataclasses import dataclass

COMPANY = "Habersaat Lichtwerk Elektrotechnik GmbH"
SHORT = "Habersaat Lichtwerk"
CITY = "Detmold"


@dataclass(frozen=True)
class Feature:
    """One ETIM feature: id, German name, value and unit."""

    id: str
    name: str
    value: str
    unit: str = ""


@dataclass(frozen=True)
class Item:
    """One product. `price` is in euros for one piece; `tier` is (pieces, price) of the first quantity step."""

    number: str
    gtin: str
    name: str
    text: str
    group: str
    etim_class: str
    features: tuple[Feature, ...]
    price: str
    tier: tuple[int, str]
    stock: int


GROUPS = {
    "reihenklemmen": "Reihenklemmen",
    "netzteile": "Netzteile",
    "leuchten": "Hallenleuchten",
    "schutz": "Leitungsschutzschalter",
}


def _gtin(serial: int) -> str:
    body = f"4099{serial:08d}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    return body + str(-total % 10)


def _cents(value: float) -> str:
    return f"{value:.2f}"


def _terminals() -> list[Item]:
    items = []
    for place, (section, current, torque) in enumerate(
        [
            ("1,5", "17,5", "0,4"),
            ("2,5", "24", "0,5"),
            ("4", "32", "0,6"),
            ("6", "41", "0,8"),
            ("10", "57", "1,2"),
            ("16", "76", "1,6"),
            ("35", "125", "3,2"),
        ]
    ):
        for step, (tail, colour) in enumerate((("GR", "grau"), ("BL", "blau"), ("GNYE", "grün-gelb"))):
            serial = 1000 + place * 10 + step
            items.append(
                Item(
                    number=f"RK-{section.replace(',', '.')}-{tail}",
                    gtin=_gtin(serial),
                    name=f"Reihenklemme RK {section} {colour}",
                    text=f"Schraubklemme für Tragschiene TH35, Bemessungsquerschnitt {section} mm², Farbe {colour}, "
                    f"Anzugsdrehmoment {torque} Nm.",
                    group="reihenklemmen",
                    etim_class="EC000897",
                    features=(
                        Feature("EF000007", "Farbe", colour),
                        Feature("EF002961", "Bemessungsquerschnitt", section, "mm²"),
                        Feature("EF006324", "Bemessungsstrom", current, "A"),
                        Feature("EF013125", "Anzugsdrehmoment", torque, "Nm"),
                    ),
                    price=_cents(0.68 + 0.41 * place),
                    tier=(100, _cents((0.68 + 0.41 * place) * 0.82)),
                    stock=250 + 37 * serial % 4000,
                )
            )
    return items


def _supplies() -> list[Item]:
    items = []
    for place, (volts, amps) in enumerate(
        [(12, "5"), (24, "2,5"), (24, "5"), (24, "10"), (24, "20"), (48, "5"), (48, "10")]
    ):
        price = 48.9 + 27.5 * place
        items.append(
            Item(
                number=f"NT-{volts}-{amps.replace(',', '.')}",
                gtin=_gtin(2000 + place),
                name=f"Netzteil NT {volts} V / {amps} A",
                text=f"Geregeltes Schaltnetzteil für die Hutschiene, Ausgang {volts} V DC, {amps} A, "
                "Wirkungsgrad bis 94,5 %, Überlastreserve 150 % für 5 Sekunden.",
                group="netzteile",
                etim_class="EC002540",
                features=(
                    Feature("EF009505", "Ausgangsspannung", str(volts), "V"),
                    Feature("EF009506", "Ausgangsstrom", amps, "A"),
                    Feature("EF005474", "Schutzart (IP)", "IP20"),
                ),
                price=_cents(price),
                tier=(50, _cents(price * 0.88)),
                stock=12 + 9 * place,
            )
        )
    return items


def _lights() -> list[Item]:
    items = []
    for place, (watts, lumen, code) in enumerate(
        [(80, 11200, "IP65"), (120, 16800, "IP65"), (160, 22900, "IP65"), (240, 34500, "IP66")]
    ):
        for kelvin in (4000, 5000):
            price = 129.0 + 58.0 * place + (kelvin - 4000) / 1000
            items.append(
                Item(
                    number=f"HL-{watts}-{kelvin // 100}",
                    gtin=_gtin(3000 + place * 10 + kelvin // 1000),
                    name=f"LED-Hallenleuchte HL {watts} W {kelvin} K",
                    text=f"Hallenleuchte mit {lumen} lm bei {watts} W, Schutzart {code}, Stoßfestigkeit IK08, "
                    f"Lebensdauer L80B10 100.000 h, Farbtemperatur {kelvin} K.",
                    group="leuchten",
                    etim_class="EC001716",
                    features=(
                        Feature("EF005474", "Schutzart (IP)", code),
                        Feature("EF009346", "Farbtemperatur", str(kelvin), "K"),
                        Feature("EF018714", "Lichtstrom", str(lumen), "lm"),
                        Feature("EF009347", "Lampenleistung", str(watts), "W"),
                    ),
                    price=_cents(price),
                    tier=(20, _cents(price * 0.9)),
                    stock=3 + 7 * place,
                )
            )
    return items


def _breakers() -> list[Item]:
    items = []
    for curve in "BC":
        for place, amps in enumerate((6, 10, 13, 16, 20, 25, 32)):
            for poles in (1, 3):
                price = 6.4 + 0.35 * place + 9.2 * (poles - 1)
                items.append(
                    Item(
                        number=f"LS-{curve}{amps}-{poles}P",
                        gtin=_gtin(4000 + 100 * "BC".index(curve) + place * 10 + poles),
                        name=f"Leitungsschutzschalter {curve}{amps} {poles}-polig",
                        text=f"Leitungsschutzschalter, Auslösecharakteristik {curve}, {amps} A, {poles}-polig, "
                        "Bemessungsschaltvermögen 10 kA nach EN 60898-1.",
                        group="schutz",
                        etim_class="EC000042",
                        features=(
                            Feature("EF000227", "Auslösecharakteristik", curve),
                            Feature("EF002552", "Bemessungsstrom", str(amps), "A"),
                            Feature("EF000149", "Polzahl", str(poles)),
                        ),
                        price=_cents(price),
                        tier=(12, _cents(price * 0.85)),
                        stock=40 + 11 * place,
                    )
                )
    return items


ITEMS: tuple[Item, ...] = (*_terminals(), *_supplies(), *_lights(), *_breakers())


def item(number: str) -> Item:
    """The product of that article number."""
    return next(each for each in ITEMS if each.number == number)

"""BMEcat in its versions and transactions: own samples, and where they are, real catalogues counted another way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.detect import BMECAT
from servers.cradle.processing.extract.extractor import File
from servers.cradle.processing.extract.xml import drop, events
from servers.cradle.processing.extraction import Classification, Extraction, Localised, Media, Relation, joined, parts
from servers.cradle.processing.product_text import product_lines
from servers.cradle.processing.records import Records
from shared.dataset.rows import document_id, exact_amount

REAL = Path(os.environ.get("BMECAT_SAMPLES", Path(__file__).parents[2].parent / "shared/data/bmecat"))

HEADER = """<HEADER><CATALOG><LANGUAGE>deu</LANGUAGE><LANGUAGE>eng</LANGUAGE><CATALOG_ID>K1</CATALOG_ID>
<CATALOG_VERSION>1</CATALOG_VERSION><CATALOG_NAME>Hauptkatalog</CATALOG_NAME></CATALOG>
<SUPPLIER><SUPPLIER_ID type="duns">42</SUPPLIER_ID><SUPPLIER_NAME>Muster GmbH</SUPPLIER_NAME></SUPPLIER></HEADER>"""
PRODUCT = """<PRODUCT mode="new"><SUPPLIER_PID>A-1</SUPPLIER_PID><PRODUCT_DETAILS>
<DESCRIPTION_SHORT lang="deu">Klemme</DESCRIPTION_SHORT><DESCRIPTION_SHORT lang="eng">Clamp</DESCRIPTION_SHORT>
<DESCRIPTION_LONG lang="deu">24 V &amp;plusmn; 20 %</DESCRIPTION_LONG>
<INTERNATIONAL_PID type="gtin">4099000010207</INTERNATIONAL_PID><MANUFACTURER_PID>M-1</MANUFACTURER_PID>
<MANUFACTURER_NAME>Muster</MANUFACTURER_NAME><KEYWORD lang="deu">Reihe</KEYWORD><DELIVERY_TIME>2</DELIVERY_TIME>
</PRODUCT_DETAILS><PRODUCT_FEATURES><REFERENCE_FEATURE_SYSTEM_NAME>ETIM-9.0</REFERENCE_FEATURE_SYSTEM_NAME>
<REFERENCE_FEATURE_GROUP_ID>EC000897</REFERENCE_FEATURE_GROUP_ID>
<FEATURE><FNAME>EF000007</FNAME><FVALUE>EV000080</FVALUE><FORDER>1</FORDER></FEATURE>
<FEATURE><FTEMPLATE><FT_ID>0173-1#02-A</FT_ID><FT_NAME>Maße</FT_NAME></FTEMPLATE><VALUE_IDREF>0173-1#01-X</VALUE_IDREF>
<FVALUE_DETAILS>Maße</FVALUE_DETAILS><FID>10</FID><FPARENT_ID>-1</FPARENT_ID></FEATURE>
<FEATURE><FTEMPLATE><FT_ID>0173-1#02-B</FT_ID><FT_NAME>Höhe</FT_NAME></FTEMPLATE><FVALUE>5.2</FVALUE><FUNIT>MMT</FUNIT>
<FID>11</FID><FPARENT_ID>10</FPARENT_ID></FEATURE>
<FEATURE><FNAME>Farbe</FNAME><FVALUE lang="deu">grau</FVALUE><FVALUE lang="eng">grey</FVALUE></FEATURE>
</PRODUCT_FEATURES><PRODUCT_ORDER_DETAILS><ORDER_UNIT>C62</ORDER_UNIT><PRICE_QUANTITY>100</PRICE_QUANTITY>
</PRODUCT_ORDER_DETAILS><PRODUCT_PRICE_DETAILS><DATETIME type="valid_start_date"><DATE>2026-01-01</DATE></DATETIME>
<DATETIME type="valid_end_date"><DATE>2026-12-31</DATE></DATETIME>
<PRODUCT_PRICE price_type="net_list"><PRICE_AMOUNT>12.5</PRICE_AMOUNT><PRICE_CURRENCY>EUR</PRICE_CURRENCY>
<TAX>0.19</TAX><LOWER_BOUND>1</LOWER_BOUND><TERRITORY>DE</TERRITORY><TERRITORY>AT</TERRITORY></PRODUCT_PRICE>
<PRODUCT_PRICE price_type="net_list"><PRICE_AMOUNT>11</PRICE_AMOUNT><PRICE_CURRENCY>EUR</PRICE_CURRENCY>
<LOWER_BOUND>100</LOWER_BOUND></PRODUCT_PRICE></PRODUCT_PRICE_DETAILS>
<MIME_INFO><MIME><MIME_TYPE>image/jpeg</MIME_TYPE><MIME_SOURCE>a1.jpg</MIME_SOURCE>
<MIME_PURPOSE>normal</MIME_PURPOSE></MIME>
</MIME_INFO><PRODUCT_REFERENCE type="accessories"><PROD_ID_TO>A-2</PROD_ID_TO></PRODUCT_REFERENCE>
<USER_DEFINED_EXTENSIONS><UDX.X.FARBE>RAL 7035</UDX.X.FARBE></USER_DEFINED_EXTENSIONS></PRODUCT>"""
GROUPS = """<CATALOG_GROUP_SYSTEM><GROUP_SYSTEM_ID>S1</GROUP_SYSTEM_ID>
<CATALOG_STRUCTURE type="root"><GROUP_ID>1</GROUP_ID>
<GROUP_NAME>Alles</GROUP_NAME><PARENT_ID>0</PARENT_ID></CATALOG_STRUCTURE>
<CATALOG_STRUCTURE type="leaf"><GROUP_ID>2</GROUP_ID>
<GROUP_NAME>Klemmen</GROUP_NAME><PARENT_ID>1</PARENT_ID></CATALOG_STRUCTURE></CATALOG_GROUP_SYSTEM>"""
MAP = """<PRODUCT_TO_CATALOGGROUP_MAP><PROD_ID>A-1</PROD_ID><CATALOG_GROUP_ID>2</CATALOG_GROUP_ID>
</PRODUCT_TO_CATALOGGROUP_MAP>"""


def catalogue(
    body: str, transaction: str = "T_NEW_CATALOG", namespace: str = "http://www.bmecat.org/bmecat/2005"
) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><BMECAT xmlns="{namespace}" version="2005">{HEADER}'
        f"<{transaction}>{body}</{transaction}></BMECAT>"
    ).encode()


def in_version_1_2(body: str) -> str:
    """The same in BMEcat 1.2, whose elements speak of articles."""
    old = body.replace("PRODUCT", "ARTICLE").replace("PROD_ID", "ART_ID").replace("_PID", "_AID")
    return re.sub(r"INTERNATIONAL_AID type=\"gtin\"|INTERNATIONAL_AID", "EAN", old)


def extracted(data: bytes) -> Extraction:
    return joined(parts(read(*identify(data, "katalog.xml"))))


@pytest.mark.parametrize("version", ["2005", "1.2", "none"])
def test_a_product_is_read_with_everything_that_it_says(version: str) -> None:
    body = GROUPS + PRODUCT + MAP
    data = catalogue(body)
    if version == "1.2":
        data = catalogue(in_version_1_2(body), namespace="http://www.bmecat.org/bmecat/1.2/bmecat_new_catalog")
    elif version == "none":
        data = data.replace(b' xmlns="http://www.bmecat.org/bmecat/2005"', b"")
    found = extracted(data)
    assert (found.title, found.language) == ("Hauptkatalog", "deu")
    (product,) = found.products
    assert (product.article_number, product.gtin, product.mode) == ("A-1", "4099000010207", "new")
    assert product.names == (Localised("Klemme", "deu"), Localised("Clamp", "eng"))
    assert product.descriptions == (Localised("24 V ± 20 %", "deu"),)
    assert (product.supplier_id, product.supplier_name, product.manufacturer) == ("42", "Muster GmbH", "Muster")
    assert (product.manufacturer_number, product.order_unit) == ("M-1", "C62")
    assert product.classifications == (Classification("ETIM-9.0", "EC000897"),)
    assert [feature.name for feature in product.features] == ["EF000007", "Maße", "Höhe", "Farbe"]
    height = product.features[2]
    assert (height.feature_id, height.values[0].text, height.unit, height.parent) == ("0173-1#02-B", "5.2", "MMT", "10")
    assert product.features[3].values == (Localised("grau", "deu"), Localised("grey", "eng"))
    first, second = product.prices
    assert (first.amount, first.currency, first.kind, first.lower_bound) == ("12.5", "EUR", "net_list", "1")
    assert (first.quantity, first.valid_from, first.valid_to) == ("100", "2026-01-01", "2026-12-31")
    assert (first.territories, second.lower_bound) == (("DE", "AT"), "100")
    assert [(media.source, media.purpose) for media in product.media] == [("a1.jpg", "normal")]
    assert [(each.kind, each.article_number) for each in product.references] == [("accessories", "A-2")]
    assert ("USER_DEFINED_EXTENSIONS/UDX.X.FARBE", "RAL 7035") in product.properties
    assert ("DELIVERY_TIME", "2") in [(name.rpartition("/")[2], value) for name, value in product.properties]
    assert [(group.identifier, group.name, group.parent) for group in found.groups] == [
        ("1", "Alles", ""),
        ("2", "Klemmen", "1"),
    ]
    assert [(each.article_number, each.kind, each.target) for each in found.relations] == [("A-1", "member", "2")]


@pytest.mark.parametrize(
    ("transaction", "kind"), [("T_NEW_CATALOG", "new"), ("T_UPDATE_PRODUCTS", "update"), ("T_UPDATE_PRICES", "prices")]
)
def test_each_transaction_is_told_apart(transaction: str, kind: str) -> None:
    (product,) = extracted(catalogue(PRODUCT, transaction)).products
    assert product.transaction == kind


def test_a_products_words_hold_each_fact_and_nested_features_their_path() -> None:
    (product,) = extracted(catalogue(PRODUCT)).products
    lines = product_lines(product)
    assert lines[0] == "Klemme / Clamp (Artikelnummer A-1)"
    assert "Maße › Höhe: 5.2 mm (MMT)" in lines
    assert "Farbe: grau / grey" in lines
    price = "12.5 EUR je 100 Stück (C62) ab 1 Steuer 0.19 gültig 2026-01-01–2026-12-31 DE AT"
    assert f"Preis, Nettolistenpreis (net_list): {price}" in lines
    told = {"Bestelleinheit: Stück (C62)", "Zubehör (accessories): A-2", "Medien: Bild (normal) a1.jpg"}
    assert told <= set(lines)
    assert "Lieferzeit (DELIVERY_TIME): 2" in lines


def test_codes_are_told_in_the_language_of_the_catalogue_and_unknown_ones_as_they_are() -> None:
    english = PRODUCT.replace('<DESCRIPTION_SHORT lang="deu">Klemme</DESCRIPTION_SHORT>', "")
    (product,) = extracted(catalogue(english.replace("<ORDER_UNIT>C62", "<ORDER_UNIT>VPE"))).products
    lines = product_lines(product)
    assert {"Order unit: VPE", "accessory (accessories): A-2", "Media: picture (normal) a1.jpg"} <= set(lines)
    assert any(line.startswith("Price, net list price (net_list): 12.5 EUR per 100 VPE") for line in lines)


def test_media_of_the_guideline_of_etim_are_media_and_what_they_say_more_is_kept() -> None:
    told = (
        "<UDX.EDXF.MIME_INFO><UDX.EDXF.MIME><UDX.EDXF.MIME_SOURCE>https://muster.example/a1.pdf</UDX.EDXF.MIME_SOURCE>"
        '<UDX.EDXF.MIME_CODE>MD22</UDX.EDXF.MIME_CODE><UDX.EDXF.MIME_DESIGNATION lang="deu">Klemme A1'
        "</UDX.EDXF.MIME_DESIGNATION><UDX.EDXF.MIME_ISSUE_DATE>2026-01-01</UDX.EDXF.MIME_ISSUE_DATE></UDX.EDXF.MIME>"
        "</UDX.EDXF.MIME_INFO><UDX.X.FARBE>"
    )
    (product,) = extracted(catalogue(PRODUCT.replace("<UDX.X.FARBE>", told))).products
    assert product.media[-1] == Media("https://muster.example/a1.pdf", purpose="MD22", description="Klemme A1")
    assert "Medien: Datenblatt (MD22) Klemme A1 https://muster.example/a1.pdf" in product_lines(product)
    assert ("UDX.EDXF.MIME_ISSUE_DATE", "2026-01-01") in product.properties
    assert ("USER_DEFINED_EXTENSIONS/UDX.X.FARBE", "RAL 7035") in product.properties


def test_a_product_names_the_group_of_its_classification_where_the_catalogue_tells_it() -> None:
    group = (
        "<CLASSIFICATION_SYSTEM><CLASSIFICATION_SYSTEM_NAME>ETIM-9.0</CLASSIFICATION_SYSTEM_NAME>"
        '<CLASSIFICATION_GROUPS><CLASSIFICATION_GROUP type="leaf"><CLASSIFICATION_GROUP_ID>EC000897'
        "</CLASSIFICATION_GROUP_ID><CLASSIFICATION_GROUP_NAME>Reihenklemme</CLASSIFICATION_GROUP_NAME>"
        "</CLASSIFICATION_GROUP></CLASSIFICATION_GROUPS></CLASSIFICATION_SYSTEM>"
    )
    (product,) = extracted(catalogue(group + PRODUCT)).products
    assert "Klassifikation: ETIM-9.0 EC000897 Reihenklemme" in product_lines(product)


def test_a_price_without_a_currency_is_in_the_one_of_the_catalogue() -> None:
    body = PRODUCT.replace("<PRICE_CURRENCY>EUR</PRICE_CURRENCY>", "", 1)
    (product,) = extracted(catalogue(body).replace(b"</CATALOG>", b"<CURRENCY>CHF</CURRENCY></CATALOG>")).products
    assert [price.currency for price in product.prices] == ["CHF", "EUR"]


def test_markup_in_a_description_is_part_of_its_text() -> None:
    markup = "Schutzart <b>IP<i>65</i></b> bei 20&#160;mm<br/>Zeile 2<ul><li>eins</li><li>zwei</li></ul>"
    body = PRODUCT.replace("24 V &amp;plusmn; 20 %", markup)
    (product,) = extracted(catalogue(body)).products
    assert product.descriptions == (Localised("Schutzart IP65 bei 20 mm Zeile 2 eins zwei", "deu"),)
    (product,) = extracted(catalogue(body.replace("Schutzart <b>IP<i>65</i></b>", "<p>IP65</p>"))).products
    assert product.descriptions[0].text.startswith("IP65 bei 20 mm")


def test_an_entity_of_a_dtd_that_is_not_read_stays_in_every_text() -> None:
    body = PRODUCT.replace("Klemme", "K&auml;fig&shy;klemme").replace("A-1", "A&frasl;1").replace("RAL", "&sect;")
    data = catalogue(in_version_1_2(body)).replace(b"<BMECAT", b'<!DOCTYPE BMECAT SYSTEM "bmecat.dtd"><BMECAT')
    found = extracted(data.replace(b"Muster GmbH", b"M&uuml;ller &amp; &Ouml;zel &firma;"))
    (product,) = found.products
    assert (product.article_number, product.names[0].text) == ("A⁄1", "Käfig\xadklemme")
    assert product.supplier_name == "Müller & Özel &firma;"
    assert ("USER_DEFINED_EXTENSIONS/UDX.X.FARBE", "§ 7035") in product.properties


def test_text_behind_markup_stays_among_what_else_a_product_says() -> None:
    remarks = "<REMARKS>eins<br/>zwei<b>drei</b>vier</REMARKS><DELIVERY_TIME>"
    (product,) = extracted(catalogue(PRODUCT.replace("<DELIVERY_TIME>", remarks))).products
    told = [text for path, text in product.properties if path.startswith("REMARKS")]
    assert told == ["eins", "zwei", "drei", "vier"]


def test_a_price_is_of_what_is_ordered_also_where_that_stands_behind_it() -> None:
    order, rest = PRODUCT.partition("<PRODUCT_ORDER_DETAILS>")[2].split("</PRODUCT_ORDER_DETAILS>")
    prices, rest = rest.split("<MIME_INFO>")
    turned = f"{prices}<PRODUCT_ORDER_DETAILS>{order}</PRODUCT_ORDER_DETAILS><MIME_INFO>{rest}"
    (product,) = extracted(catalogue(PRODUCT.partition("<PRODUCT_ORDER_DETAILS>")[0] + turned)).products
    assert [(price.amount, price.quantity, price.unit) for price in product.prices] == [
        ("12.5", "100", "C62"),
        ("11", "100", "C62"),
    ]


def test_a_product_that_is_taken_back_is_a_text_and_no_product() -> None:
    gone = PRODUCT.replace('mode="new"', 'mode="delete"').replace("A-1", "A-9")
    found = extracted(catalogue(PRODUCT + gone, "T_UPDATE_PRODUCTS"))
    assert [product.article_number for product in found.products] == ["A-1"]
    (said,) = (block.text for block in found.blocks if "A-9" in block.text)
    assert said.startswith("PRODUCT: mode delete\nPRODUCT/SUPPLIER_PID: A-9\n")
    assert found.relations == (Relation("A-9", "deleted", "Muster GmbH"),)


def test_a_product_that_is_taken_back_without_a_number_takes_back_no_other() -> None:
    found = extracted(catalogue('<PRODUCT mode="delete"><USER_DEFINED_EXTENSIONS/></PRODUCT>', "T_UPDATE_PRODUCTS"))
    assert (found.products, found.relations) == ((), ())


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("12,50", "12.500000"),
        ("0,125", "0.125000"),
        (" -3,1 ", "-3.100000"),
        ("1234,567", "1234.567000"),
        ("1,234", "None"),
        ("1.234,50", "None"),
        ("1,234,567", "None"),
        ("12,", "None"),
    ],
)
def test_a_decimal_comma_is_read_where_it_can_be_nothing_else(written: str, amount: str) -> None:
    assert str(exact_amount(written)) == amount


@pytest.mark.parametrize(
    ("factor", "charged"), [("0.8", "10.000000"), ("0,8", "10.000000"), ("1", "12.500000"), ("x", "None")]
)
def test_a_price_factor_is_part_of_what_is_charged(factor: str, charged: str) -> None:
    stated = "<PRICE_AMOUNT>12.5</PRICE_AMOUNT>"
    priced = PRODUCT.replace(stated, f"{stated}<PRICE_FACTOR>{factor}</PRICE_FACTOR>")
    rows = Records(document_id("k.xml"), 1).of(extracted(catalogue(GROUPS + priced + MAP)), [], None)
    assert str(rows.prices[0].amount) == charged


def test_the_rows_of_a_feature_share_its_ordinal_and_a_price_is_one_row() -> None:
    found = extracted(catalogue(GROUPS + PRODUCT + PRODUCT + MAP))
    rows = Records(document_id("k.xml"), 1).of(found, [], None)
    assert len({row.product_id for row in rows.products}) == 2
    ours = [row for row in rows.features if row.product_id == rows.products[0].product_id]
    assert [(row.ordinal, row.value, row.language) for row in ours] == [
        (0, "EV000080", ""), (1, "Maße", ""), (2, "5.2", ""), (3, "grau", "deu"), (3, "grey", "eng")
    ]  # fmt: skip
    assert ours[2].number == 5.2
    assert [(str(row.amount), row.territory) for row in rows.prices[:2]] == [("12.500000", "DE AT"), ("11.000000", "")]
    assert {(row.kind, row.target) for row in rows.relations} == {("accessories", "A-2"), ("member", "2")}


def plain_counts(path: Path) -> tuple[int, int, int, int]:
    """Products, features, prices and references by a plain parse of the whole file that knows nothing of the reader."""
    tree = etree.parse(str(path), etree.XMLParser(load_dtd=False, no_network=True))

    def count(*names: str) -> int:
        return sum(int(tree.xpath(f"count(//*[local-name()='{name}'])")) for name in names)

    return (
        count("PRODUCT", "ARTICLE"),
        count("FEATURE"),
        count("PRODUCT_PRICE", "ARTICLE_PRICE"),
        count("PRODUCT_REFERENCE", "ARTICLE_REFERENCE"),
    )


def word_counts(path: Path) -> list[str]:
    """Every text of the products, for the check that none is lost."""
    tree = etree.parse(str(path), etree.XMLParser(load_dtd=False, no_network=True))
    products = tree.xpath("//*[local-name()='PRODUCT' or local-name()='ARTICLE']")
    return [" ".join(text.split()) for product in products for text in product.itertext() if text.strip()]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real catalogues: set BMECAT_SAMPLES to a folder of BMEcat files")
@pytest.mark.parametrize("path", sorted(REAL.glob("*.xml")), ids=lambda path: path.stem)
def test_real_catalogues_count_the_same_as_a_plain_parse_and_lose_no_text(path: Path) -> None:
    import html

    found = extracted(path.read_bytes())
    products = found.products
    assert plain_counts(path) == (
        len(products),
        sum(len(product.features) for product in products),
        sum(len(product.prices) for product in products),
        sum(len(product.references) for product in products),
    )
    said = "\n".join(str(product) for product in products)
    lost = [text for text in word_counts(path) if repr(" ".join(html.unescape(text).split()))[1:-1] not in said]
    assert lost == []


@pytest.mark.requirement("I-08")
def test_of_what_was_read_of_a_catalogue_no_empty_element_stays() -> None:
    most = 0
    for event, element in events(File(catalogue(PRODUCT * 500), "k.xml", BMECAT)):
        if element.tag.endswith("}PRODUCT"):
            most = max(most, len(element.getparent()))
            if event == "end":
                drop(element)
    assert most < 64  # the parser runs ahead of its events by one buffer


def test_products_of_a_large_catalogue_come_in_parts() -> None:
    counts = [len(part.products) for part in parts(read(*identify(catalogue(PRODUCT * 600), "k.xml")))]
    assert sum(counts) == 600
    assert max(counts) <= 512


STREAMED = """
import itertools, sys
from pathlib import Path
from servers.cradle.processing.extract.body import Body
from servers.cradle.processing.extract.bmecat import Bmecat
from servers.cradle.processing.extract.extractor import File
from servers.cradle.processing.extract.structured import Xml

start, piece, end = (part.encode() for part in Path(sys.argv[1]).read_text().split("|"))

class Stream:
    def __init__(self, pieces):
        self.pieces, self.held = itertools.chain([start], itertools.repeat(piece, pieces), [end]), b""

    def read(self, size):
        while len(self.held) < size:
            self.held += next(self.pieces)
        data, self.held = self.held[:size], self.held[size:]
        return data

reader = {"bmecat": Bmecat, "xml": Xml}[sys.argv[2]]()
for pieces in (200, 2_000):
    body = Body(Stream(pieces), len(start) + pieces * len(piece) + len(end))
    print(sum(1 for _ in reader.extract(File(body, "k.xml", next(iter(reader.media_types))), None)))
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.requirement("I-08")
@pytest.mark.parametrize("reader", ["bmecat", "xml"])
def test_memory_does_not_grow_with_the_length_of_a_catalogue(reader: str, tmp_path: Path) -> None:
    """At 0.6 and at 6 MB: held as a tree, the second would take 30 MiB more."""
    document = tmp_path / "parts"
    document.write_text(catalogue("|").decode().replace("|", f"|{PRODUCT}|"))
    command = [sys.executable, "-c", STREAMED, str(document), reader]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    items, before, more_items, after = map(int, told)
    assert more_items > 5 * items
    assert after - before < 10 * 1024  # KiB


@pytest.mark.requirement("O-01")
def test_coordinates_keep_every_number_and_their_order() -> None:
    values = ["2.45", "2.6", "0", "0", "-1", "0"]
    feature = "".join(f"<FVALUE>{value}</FVALUE>" for value in values)
    body = PRODUCT.replace("<FVALUE>EV000080</FVALUE>", feature)
    (product,) = extracted(catalogue(body)).products
    rows = Records("doc_" + "0" * 32, 1).of(extracted(catalogue(body)), [], None).features
    assert [(row.position, row.value) for row in rows if row.ordinal == 0] == list(enumerate(values))
    assert any(line.endswith("2.45 / 2.6 / 0 / 0 / -1 / 0") for line in product_lines(product))


def test_what_a_group_says_beyond_its_name_and_place_is_read() -> None:
    groups = (
        "<CATALOG_GROUP_SYSTEM><CATALOG_STRUCTURE type='leaf'><GROUP_ID>G7</GROUP_ID>"
        "<GROUP_NAME lang='deu'>Klemmen</GROUP_NAME><GROUP_NAME lang='eng'>Terminals</GROUP_NAME>"
        "<GROUP_DESCRIPTION>Für Hutschienen.</GROUP_DESCRIPTION><PARENT_ID>1</PARENT_ID><GROUP_ORDER>5</GROUP_ORDER>"
        "</CATALOG_STRUCTURE><CATALOG_STRUCTURE type='leaf'><GROUP_ID>G8</GROUP_ID><GROUP_NAME>Kabel</GROUP_NAME>"
        "<PARENT_ID>1</PARENT_ID></CATALOG_STRUCTURE></CATALOG_GROUP_SYSTEM>"
    )
    found = extracted(f"<BMECAT><T_NEW_CATALOG>{groups}</T_NEW_CATALOG></BMECAT>".encode())
    assert [(each.identifier, each.name, each.parent) for each in found.groups] == [
        ("G7", "Klemmen", "1"), ("G8", "Kabel", "1"),
    ]  # fmt: skip
    assert [block.text for block in found.blocks] == [
        "CATALOG_STRUCTURE: Klemmen\nGROUP_NAME: Terminals\nGROUP_DESCRIPTION: Für Hutschienen."
    ]


def test_a_second_source_of_a_medium_the_kind_of_a_flag_and_the_quantity_of_a_part_are_kept() -> None:
    product = (
        "<PRODUCT><SUPPLIER_PID>A-1</SUPPLIER_PID><PRODUCT_PRICE_DETAILS><PRODUCT_PRICE price_type='net_list'>"
        "<PRICE_AMOUNT>5</PRICE_AMOUNT><PRICE_FLAG type='incl_freight'>true</PRICE_FLAG></PRODUCT_PRICE>"
        "</PRODUCT_PRICE_DETAILS><MIME_INFO><MIME><MIME_SOURCE lang='deu'>a.pdf</MIME_SOURCE>"
        "<MIME_SOURCE lang='eng'>b.pdf</MIME_SOURCE></MIME></MIME_INFO>"
        "<PRODUCT_REFERENCE type='consists_of' quantity='3'><PROD_ID_TO>A-2</PROD_ID_TO></PRODUCT_REFERENCE></PRODUCT>"
    )
    (found,) = extracted(f"<BMECAT><T_NEW_CATALOG>{product}</T_NEW_CATALOG></BMECAT>".encode()).products
    assert [each.source for each in found.media] == ["a.pdf"]
    assert set(found.properties) == {
        ("PRODUCT_PRICE/PRICE_FLAG[incl_freight]", "true"), ("MIME_SOURCE", "b.pdf"),
        ("PRODUCT_REFERENCE[consists_of]/quantity", "A-2: 3"),
    }  # fmt: skip


@pytest.mark.parametrize(("value", "number"), [("10_20", None), ("1020", 1020.0), ("10,5", 10.5)])
def test_a_value_with_an_underscore_is_no_number(value: str, number: float | None) -> None:
    feature = f"<PRODUCT_FEATURES><FEATURE><FNAME>F</FNAME><FVALUE>{value}</FVALUE></FEATURE></PRODUCT_FEATURES>"
    product = f"<PRODUCT><SUPPLIER_PID>A-1</SUPPLIER_PID>{feature}</PRODUCT>"
    found = extracted(f"<BMECAT><T_NEW_CATALOG>{product}</T_NEW_CATALOG></BMECAT>".encode())
    assert [each.number for each in Records(document_id("k.xml"), 1).of(found, [], None).features] == [number]

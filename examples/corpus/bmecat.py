"""The catalogue as BMEcat 2005 with ETIM features, quantity tiers and two groups of prices."""

from __future__ import annotations

from lxml import etree

from examples.corpus.catalogue import COMPANY, GROUPS, ITEMS, Item

NAMESPACE = "http://www.bmecat.org/bmecat/2005fd"


def catalogue() -> bytes:
    """A T_NEW_CATALOG document of all products."""
    root = etree.Element("BMECAT", nsmap={None: NAMESPACE}, attrib={"version": "2005"})
    header = etree.SubElement(root, "HEADER")
    head = etree.SubElement(header, "CATALOG")
    for tag, text in (("LANGUAGE", "deu"), ("CATALOG_ID", "HL-2026"), ("CATALOG_VERSION", "7.1"), ("CURRENCY", "EUR")):
        etree.SubElement(head, tag).text = text
    supplier = etree.SubElement(header, "SUPPLIER")
    etree.SubElement(supplier, "SUPPLIER_NAME").text = COMPANY
    body = etree.SubElement(root, "T_NEW_CATALOG")
    _groups(body)
    for item in ITEMS:
        _product(body, item)
    for item in ITEMS:
        link = etree.SubElement(body, "PRODUCT_TO_CATALOGGROUP_MAP")
        etree.SubElement(link, "PROD_ID").text = item.number
        etree.SubElement(link, "CATALOG_GROUP_ID").text = item.group
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _groups(body: etree._Element) -> None:
    system = etree.SubElement(body, "CATALOG_GROUP_SYSTEM")
    root = etree.SubElement(system, "CATALOG_STRUCTURE", attrib={"type": "root"})
    for tag, text in (("GROUP_ID", "1"), ("GROUP_NAME", "Gesamtsortiment"), ("PARENT_ID", "0")):
        etree.SubElement(root, tag).text = text
    for key, name in GROUPS.items():
        leaf = etree.SubElement(system, "CATALOG_STRUCTURE", attrib={"type": "leaf"})
        for tag, text in (("GROUP_ID", key), ("GROUP_NAME", name), ("PARENT_ID", "1")):
            etree.SubElement(leaf, tag).text = text


def _product(body: etree._Element, item: Item) -> None:
    product = etree.SubElement(body, "PRODUCT", attrib={"mode": "new"})
    etree.SubElement(product, "SUPPLIER_PID").text = item.number
    details = etree.SubElement(product, "PRODUCT_DETAILS")
    etree.SubElement(details, "DESCRIPTION_SHORT").text = item.name
    etree.SubElement(details, "DESCRIPTION_LONG").text = item.text
    etree.SubElement(details, "INTERNATIONAL_PID", attrib={"type": "gtin"}).text = item.gtin
    etree.SubElement(details, "MANUFACTURER_NAME").text = COMPANY
    features = etree.SubElement(product, "PRODUCT_FEATURES")
    etree.SubElement(features, "REFERENCE_FEATURE_SYSTEM_NAME").text = "ETIM-9.0"
    etree.SubElement(features, "REFERENCE_FEATURE_GROUP_ID").text = item.etim_class
    for order, feature in enumerate(item.features, start=1):
        element = etree.SubElement(features, "FEATURE")
        etree.SubElement(element, "FT_IDREF").text = feature.id
        etree.SubElement(element, "FNAME").text = feature.name
        etree.SubElement(element, "FVALUE").text = feature.value
        if feature.unit:
            etree.SubElement(element, "FUNIT").text = feature.unit
        etree.SubElement(element, "FORDER").text = str(order)
    order_details = etree.SubElement(product, "PRODUCT_ORDER_DETAILS")
    etree.SubElement(order_details, "ORDER_UNIT").text = "C62"
    prices = etree.SubElement(product, "PRODUCT_PRICE_DETAILS")
    for bound, amount in ((1, item.price), item.tier):
        price = etree.SubElement(prices, "PRODUCT_PRICE", attrib={"price_type": "net_customer"})
        etree.SubElement(price, "PRICE_AMOUNT").text = amount
        etree.SubElement(price, "PRICE_CURRENCY").text = "EUR"
        etree.SubElement(price, "LOWER_BOUND").text = str(bound)

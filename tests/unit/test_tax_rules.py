"""The tax server's rules against published examples and the law's own numbers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.marketplace.first_party.tax.invoices import (
    Detail,
    Facts,
    Line,
    RateTotal,
    check,
    from_gross,
    is_small,
    tax_on,
    totals,
)
from servers.marketplace.first_party.tax.rates import RATES, last_day, rate_on
from servers.marketplace.first_party.tax.vat_ids import FORMS, check_digit, read_vat_id

EVERYTHING = frozenset(get_args(Detail))


def test_the_check_digit_is_that_of_the_standards_example_and_of_known_numbers() -> None:
    assert check_digit("0794") == 5  # the example of ISO 7064 for MOD 11,10
    for number in ("DE136695976", "DE 136 695 976", "de136695976", "HR33392005961"):
        found = read_vat_id(number)
        assert (found.well_formed, found.check_digit, found.acceptable) == (True, "valid", True), number


@given(st.from_regex(r"[1-9][0-9]{7}", fullmatch=True))
def test_exactly_one_digit_completes_a_german_number(digits: str) -> None:
    good = [end for end in "0123456789" if read_vat_id(f"DE{digits}{end}").acceptable]
    assert len(good) == 1
    swapped = digits[1] + digits[0] + digits[2:]
    if swapped[0] not in "0" + digits[0] and {*digits[:2]} != {"5", "6"}:
        assert not read_vat_id(f"DE{swapped}{good[0]}").acceptable  # at this place MOD 11,10 misses only 56 for 65


@pytest.mark.parametrize(
    ("number", "acceptable"),
    [
        ("ATU12345678", True), ("AT12345678", False), ("BE0123456789", True), ("BE2123456789", False),
        ("CY12345678X", True), ("ESX1234567X", True), ("ES12345678X", True), ("ES123456789", False),
        ("EL123456789", True), ("GR123456789", True), ("FRAB123456789", True), ("FROB123456789", False),
        ("IE1234567FA", True), ("IE1S23456L", True), ("NL123456789B01", True), ("NL123456789C01", False),
        ("RO12", True), ("RO1", False), ("SE123456789012", True), ("XIGD123", True), ("XI123456789", True),
        ("GB123456789", False), ("US123456789", False), ("DE012345678", False), ("DE13669597", False),
        ("DE１３６６９５９７６", False), ("", False), ("DE136695976\n", False),
    ],
)  # fmt: skip
def test_numbers_have_the_form_of_their_state(number: str, acceptable: bool) -> None:
    assert read_vat_id(number).acceptable is acceptable


def test_a_british_number_is_none_of_the_union_and_the_answer_says_where_it_is_known() -> None:
    found = read_vat_id("GB 123 4567 89")
    assert (found.prefix, found.well_formed, found.acceptable) == ("GB", True, False)
    assert found.note is not None
    assert "XI" in found.note
    assert "2020/1756" in found.sources[0]
    assert not read_vat_id("GB12345").well_formed
    northern = read_vat_id("XI123456789")
    assert (northern.acceptable, northern.note) == (True, None)
    assert "VIES" in northern.sources[0]


@pytest.mark.parametrize(
    ("number", "well_formed", "check_digit"),
    [
        ("CHE-109.322.551", True, "valid"),  # the example of the Federal Statistical Office
        ("CHE-109.322.551 MWST", True, "valid"), ("che109322551tva", True, "valid"),
        ("CHE-109.322.552", True, "invalid"), ("CHE-190.322.551 MWST", True, "invalid"),
        ("CHE-100.000.070", True, "valid"),  # without a remainder the check digit is 0
        ("CHE-109.322.551 XYZ", False, "not checked"), ("CHE-109.322.55", False, "not checked"),
    ],
)  # fmt: skip
def test_a_swiss_uid_has_its_own_check_digit_and_is_no_number_of_the_union(
    number: str, well_formed: bool, check_digit: str
) -> None:
    found = read_vat_id(number)
    assert (found.prefix, found.well_formed, found.check_digit) == ("CHE", well_formed, check_digit)
    assert not found.acceptable
    assert found.note is not None
    assert "VIES" in found.note
    assert "UIDV" in found.sources[0]


@given(st.from_regex(r"[1-9][0-9]{7}", fullmatch=True))
def test_at_most_one_digit_completes_a_swiss_uid(digits: str) -> None:
    good = [end for end in "0123456789" if read_vat_id(f"CHE{digits}{end}").check_digit == "valid"]
    assert len(good) <= 1
    weighed = sum(int(digit) * weight for digit, weight in zip(digits, (5, 4, 3, 2, 7, 6, 5, 4), strict=True))
    assert good == ([] if weighed % 11 == 1 else [str((11 - weighed % 11) % 11)])


def test_every_state_of_the_union_has_a_form() -> None:
    assert len(FORMS) == 28
    assert "GB" not in FORMS


@pytest.mark.parametrize(
    ("day", "kind", "percent"),
    [
        (date(1967, 12, 31), "standard", None), (date(1968, 1, 1), "standard", "10"),
        (date(1983, 7, 1), "reduced", "7"), (date(1998, 3, 31), "standard", "15"),
        (date(2006, 12, 31), "standard", "16"), (date(2007, 1, 1), "standard", "19"),
        (date(2020, 6, 30), "standard", "19"), (date(2020, 7, 1), "standard", "16"),
        (date(2020, 12, 31), "reduced", "5"), (date(2021, 1, 1), "reduced", "7"),
        (date(2022, 12, 31), "photovoltaic", None), (date(2023, 1, 1), "photovoltaic", "0"),
    ],
)  # fmt: skip
def test_the_rate_is_that_of_the_day(day: date, kind: str, percent: str | None) -> None:
    rate = rate_on(day, kind)  # pyright: ignore[reportArgumentType]
    assert (rate and str(rate.percent)) == percent


def test_rates_follow_one_another_without_a_gap() -> None:
    for kind, rates in RATES.items():
        assert [rate.since for rate in rates] == sorted({rate.since for rate in rates})
        assert last_day(rates[-1], kind) is None
    second_half = rate_on(date(2020, 9, 1), "standard")
    assert second_half is not None
    assert (second_half.source, last_day(second_half, "standard")) == ("§ 28 Abs. 1 UStG", date(2020, 12, 31))


def test_lines_are_rounded_and_the_tax_is_taken_from_the_sum_of_each_rate() -> None:
    line = Line(Decimal(3), Decimal("0.335"), Decimal(19))
    found = totals([line, line, Line(Decimal(1), Decimal("10.00"), Decimal(7))])
    assert found.lines == (Decimal("1.01"), Decimal("1.01"), Decimal("10.00"))
    assert found.by_rate == (
        RateTotal(Decimal(7), Decimal("10.00"), Decimal("0.70")),
        RateTotal(Decimal(19), Decimal("2.02"), Decimal("0.38")),
    )
    assert (found.net, found.tax, found.gross) == (Decimal("12.02"), Decimal("1.08"), Decimal("13.10"))


def test_half_a_cent_is_rounded_up_where_binary_numbers_round_down() -> None:
    assert tax_on(Decimal("0.50"), Decimal(19)) == Decimal("0.10")  # 0.095

    assert totals([Line(Decimal(1), Decimal("1.005"), Decimal(19))]).net == Decimal("1.01")
    assert totals([Line(Decimal(-1), Decimal("0.001"), Decimal(19))]).net.is_signed() is False


@given(st.decimals(0, 10**9, places=2), st.sampled_from([Decimal(7), Decimal(19), Decimal(16), Decimal(0)]))
def test_a_gross_amount_is_split_into_parts_that_add_up(gross: Decimal, percent: Decimal) -> None:
    split = from_gross(gross, percent)
    assert split.net + split.tax == gross
    assert abs(tax_on(split.net, percent) - split.tax) <= Decimal("0.01")


def test_an_invoice_with_everything_is_complete_and_each_missing_detail_is_named_with_its_rule() -> None:
    def facts(**changes: object) -> Facts:
        told = {"gross": Decimal("1190.00"), "details": EVERYTHING} | changes
        return Facts(**told)  # pyright: ignore[reportArgumentType]

    assert check(facts()) == []
    for detail, rule in {
        "supplier_address": "Nr. 1", "issue_date": "Nr. 3", "invoice_number": "Nr. 4", "quantity_and_kind": "Nr. 5",
        "supply_date": "Nr. 6", "net_by_rate": "Nr. 7",
    }.items():  # fmt: skip
        (found,) = check(facts(details=EVERYTHING - {detail}))
        assert (found.subject, found.problem, found.rule) == (detail, "missing", f"§ 14 Abs. 4 {rule} UStG")
    assert check(facts(details=EVERYTHING - {"supplier_vat_id"})) == []  # the tax number is enough
    assert len(check(facts(details=EVERYTHING - {"supplier_vat_id", "supplier_tax_number"}))) == 1
    (credit,) = check(facts(details=EVERYTHING - {"self_billing_note"}, self_billed=True))
    assert credit.rule == "§ 14 Abs. 4 Nr. 10 UStG"


def test_an_invoice_of_at_most_250_euros_needs_less_but_not_where_the_recipient_owes_the_tax() -> None:
    little = frozenset({
        "supplier_name", "supplier_address", "issue_date", "quantity_and_kind", "gross_amount", "tax_rate",
    })  # fmt: skip
    assert check(Facts(little, gross=Decimal("250.00"))) == []
    assert len(check(Facts(little, gross=Decimal("250.01")))) > 4
    assert is_small(Facts(little, gross=Decimal("-250.00")))
    assert not is_small(Facts(little, gross=Decimal("-10000.00")))  # a correction is as large as what it takes back
    for day, limit in ((date(2017, 1, 1), 250), (date(2016, 12, 31), 150), (date(2006, 12, 31), 100)):
        assert is_small(Facts(little, gross=Decimal(limit), supply_date=day))
        assert not is_small(Facts(little, gross=limit + Decimal("0.01"), supply_date=day))
    reverse = Facts(little, case="reverse_charge", gross=Decimal("100.00"))
    assert not is_small(reverse)
    assert "§ 14a Abs. 5 UStG" in {each.rule for each in check(reverse)}
    within = check(Facts(little, case="intra_community", gross=Decimal("100.00")))
    assert {"recipient_vat_id", "supplier_vat_id"} <= {each.subject for each in within if each.rule.startswith("§ 14a")}


def test_wrong_ids_rates_and_sums_are_found() -> None:
    right = RateTotal(Decimal(19), Decimal("100.00"), Decimal("19.00"))

    def problems(**changes: object) -> list[str]:
        return [each.subject for each in check(Facts(EVERYTHING, **changes))]  # pyright: ignore[reportArgumentType]

    assert problems(by_rate=[right], gross=Decimal("119.00"), supply_date=date(2026, 1, 1)) == []
    assert problems(by_rate=[right], gross=Decimal("119.01")) == ["gross_amount"]
    assert problems(by_rate=[right], supply_date=date(2020, 8, 1)) == ["tax_rate"]
    off = RateTotal(Decimal(19), Decimal("100.00"), Decimal("19.03"))
    assert problems(by_rate=[off]) == ["tax_amount"]
    assert problems(by_rate=[off], lines=3) == []  # three rounded lines explain three cents
    assert problems(supplier_vat_id="DE136695978") == ["supplier_vat_id"]
    assert problems(case="reverse_charge", by_rate=[right]) == ["tax_amount"]
    untaxed = RateTotal(Decimal(19), Decimal("1000.00"), Decimal("0.00"))
    for case in ("reverse_charge", "intra_community"):  # who names the tax there owes it: § 14c
        assert problems(case=case, by_rate=[untaxed], gross=Decimal("1000.00")) == []
    assert problems(by_rate=[untaxed]) == ["tax_amount"]
    farmer = RateTotal(Decimal("7.8"), Decimal("100.00"), Decimal("7.80"))
    (found,) = check(Facts(EVERYTHING, supply_date=date(2025, 5, 1), by_rate=[farmer]))
    assert "§ 24" in found.explanation

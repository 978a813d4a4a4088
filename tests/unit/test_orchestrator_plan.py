"""The pure parts of the orchestrator: plans, tags, pauses, notes, and who may reach whom."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from servers.orchestrator.access import may_name, may_reach
from servers.orchestrator.questions import Asked, answer_of
from servers.orchestrator.store import Customer
from servers.orchestrator.workflows.backoff import pause_s
from servers.orchestrator.workflows.plan import STEPS, base_digest, carried_over, image_tag, merged
from servers.orchestrator.workflows.progress import safe_note
from servers.orchestrator.workflows.steps import STEP, reconciled, verified
from shared.auth import Principal
from shared.contracts.deployment import AcceptedDifference
from shared.contracts.job import JobResult
from shared.contracts.processing import READABLE, VerificationCheck, VerificationReport
from shared.errors import Conflict, DeadlineExceeded, InvalidInput, Overloaded, StorageFull, Unavailable

DIGEST = "sha256:" + "ab" * 32


def made(**numbers: int) -> JobResult:
    return JobResult(numbers=dict(numbers), digests={"dataset": DIGEST, "fingerprint": DIGEST, "image": DIGEST})


def caller(role: str, customer: str | None = None, subject: str = "usr_a") -> Principal:
    return Principal(subject, role, frozenset(), customer, "client", 0.0)


def customer(customer_id: str, partner: str | None = None) -> Customer:
    return Customer(customer_id, "Muster GmbH", "a@example.com", "package", (), partner, DIGEST, DIGEST)


def test_every_step_of_every_kind_of_job_is_implemented() -> None:
    assert {name for names in STEPS.values() for name in names} == set(STEP)


def test_every_job_cleans_up_last() -> None:
    assert all(names[-1] == "clean up" for names in STEPS.values())


@pytest.mark.requirement("O-07")
def test_a_migration_is_reconciled_before_anything_serves_or_is_called_the_customers() -> None:
    names = STEPS["migration"]
    assert names.index("back up legacy") < names.index("process")
    assert max(map(names.index, ("process", "verify", "build"))) < names.index("reconcile")
    assert names.index("reconcile") < min(map(names.index, ("deploy", "register instance")))


def test_an_image_is_verified_before_it_is_kept_handed_over_or_served() -> None:
    for names in (names for names in STEPS.values() if "build" in names):
        after = {"archive", "package", "update instances", "deploy", "register instance"} & set(names)
        assert names.index("build") < names.index("verify image") < min(map(names.index, after))


def test_the_same_parameters_and_dataset_give_the_same_tag() -> None:
    assert image_tag(made(parameter_version=2, chunks=5)) == image_tag(made(parameter_version=2)) == "p2-" + "ab" * 8


def test_a_tag_needs_a_dataset() -> None:
    with pytest.raises(Conflict, match="onboard it"):
        image_tag(JobResult(numbers={"parameter_version": 1}))


def differing(articles: int) -> VerificationReport:
    """A reconciliation in which documents and answers differ, and so many articles are missing."""
    checks = [
        VerificationCheck(name="documents", passed=False, detail="31807 in the legacy export, 31806 now"),
        VerificationCheck(name="sample answers", passed=False, detail="3 of 20 found again"),
        VerificationCheck(name="articles", passed=articles == 0, detail=f"{articles} of 12 are missing"),
    ]
    return VerificationReport(passed=False, checks=checks)


@pytest.mark.requirement("O-07")
def test_a_difference_from_a_legacy_deployment_refuses_the_cut_over_until_it_is_accepted_by_name() -> None:
    report = differing(articles=0)
    with pytest.raises(Conflict, match=r"documents: 31807 .* 31806 now; sample answers: 3 of 20") as refused:
        reconciled(report, [])
    assert "articles" not in refused.value.message
    with pytest.raises(Conflict, match="sample answers"):
        reconciled(report, ["documents"])
    made = reconciled(report, ["documents", "sample answers"])
    assert made.numbers == {"reconciled_checks": 3, "accepted_differences": 2}


@pytest.mark.requirement("O-07")
def test_a_difference_that_was_accepted_with_its_counts_is_accepted_with_no_others() -> None:
    two = ["documents", "sample answers", "articles: 2 of 12 are missing"]
    assert reconciled(differing(articles=2), two).numbers["accepted_differences"] == 3
    with pytest.raises(Conflict, match=r"\(articles: 9 of 12 are missing\)"):
        reconciled(differing(articles=9), two)


@pytest.mark.requirement("O-07")
def test_a_yes_to_a_difference_is_none_to_the_one_that_has_become_of_it() -> None:
    """A legacy deployment goes on while its migration waits for an answer."""
    accepted = ["documents", "sample answers"]
    with pytest.raises(Asked) as asked:
        reconciled(differing(articles=2), accepted, asks=True)
    yes = asked.value.questions[0].model_copy(update={"answer": True})
    with pytest.raises(Asked) as more:
        reconciled(differing(articles=9), accepted, asks=True, asked=[yes])
    (question,) = more.value.questions
    assert (question.key, "9 of 12" in question.message) == ("articles_2", True)
    both = [yes, question.model_copy(update={"answer": True})]
    assert reconciled(differing(articles=9), accepted, asks=True, asked=both).numbers["accepted_differences"] == 3


@pytest.mark.parametrize(
    ("said", "right"),
    [("articles", True), ("missing documents: 3 of 100", True), ("article", False), ("articles: ", False),
     ("articles\n", False), ("links: 1\n2", False)],
)  # fmt: skip
def test_what_is_accepted_is_named_as_the_checks_are(said: str, right: bool) -> None:
    if right:
        assert TypeAdapter(AcceptedDifference).validate_python(said) == said
        return
    with pytest.raises(ValidationError):
        TypeAdapter(AcceptedDifference).validate_python(said)


def test_a_difference_is_asked_about_once_and_a_no_refuses_the_cut_over() -> None:
    report = differing(articles=2)
    with pytest.raises(Asked) as asked:
        reconciled(report, ["articles"], asks=True)
    assert [question.key for question in asked.value.questions] == ["documents", "sample_answers"]
    assert "31807 in the legacy export, 31806 now" in asked.value.questions[0].message
    yes, no = (
        question.model_copy(update={"answer": said})
        for question, said in zip(asked.value.questions, (True, False), strict=True)
    )
    with pytest.raises(Conflict, match=r"\(sample answers: 3 of 20 found again\)"):
        reconciled(report, ["articles"], asks=True, asked=[yes, no])
    with pytest.raises(Asked) as more:  # a difference that was not there when the job asked
        reconciled(report, [], asks=True, asked=[yes, no])
    assert [question.key for question in more.value.questions] == ["articles"]
    both = [yes, no.model_copy(update={"answer": True})]
    assert reconciled(report, ["articles"], asks=True, asked=both).numbers["accepted_differences"] == 3


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ({"action": "accept", "content": {"confirm": True}}, True),
        ({"action": "accept", "content": {"confirm": False}}, False),
        ({"action": "decline"}, False),
        ({"action": "cancel", "content": {"confirm": True}}, False),
    ],
)
def test_only_a_form_that_was_sent_off_with_a_yes_says_yes(response: object, answer: bool) -> None:
    assert answer_of(response) is answer


@pytest.mark.parametrize(
    "response", [None, "yes", {}, {"action": "accept"}, {"action": "accept", "content": {"confirm": 1}}, {"action": 3}]
)
def test_what_is_no_answer_to_a_form_is_refused(response: object) -> None:
    with pytest.raises(InvalidInput, match="confirm"):
        answer_of(response)


def test_what_a_job_made_grows_step_by_step() -> None:
    both = merged(made(parameter_version=1, chunks=3), JobResult(numbers={"chunks": 4}, places={"image": "x"}))
    assert both.numbers == {"parameter_version": 1, "chunks": 4}
    assert both.places == {"image": "x"}


def test_a_further_job_starts_from_the_parameters_and_dataset_alone() -> None:
    start = carried_over(made(parameter_version=3, chunks=9), made(parameter_version=3))
    assert start.numbers == {"parameter_version": 3}
    assert set(start.digests) == {"base", "dataset", "fingerprint"}
    assert start.digests["base"] == start.digests["dataset"]
    assert base_digest(start) is None


def test_a_customer_with_no_delivery_yet_has_nothing_that_an_update_could_be_made_for() -> None:
    assert "base" not in carried_over(made(parameter_version=3), None).digests


def test_a_build_after_a_verification_starts_from_the_dataset_that_was_verified() -> None:
    other = "sha256:" + "cd" * 32
    checks = [VerificationCheck(name="rows of chunks", passed=True, detail="3 and 3")]
    found = verified(VerificationReport(passed=True, checks=checks, dataset_digest=other))
    start = carried_over(merged(carried_over(made(parameter_version=1), None), found), None)
    assert start.digests["dataset"] == other
    assert image_tag(start) == "p1-" + "cd" * 8


def test_a_dataset_that_does_not_pass_is_not_recorded_and_the_error_says_what_to_do() -> None:
    checks = [VerificationCheck(name="rows of chunks", passed=False, detail="3 and 4")]
    with pytest.raises(Conflict, match=r"rows of chunks.*process_new_documents"):
        verified(VerificationReport(passed=False, checks=checks, dataset_digest=DIGEST))


def test_where_no_document_could_be_read_it_is_the_files_that_have_to_change() -> None:
    checks = [VerificationCheck(name=READABLE, passed=False, detail="0 of 3")]
    with pytest.raises(Conflict, match=r"0 of 3.*failed_.*files that can be read into the sources"):
        verified(VerificationReport(passed=False, checks=checks, dataset_digest=DIGEST))


def test_pauses_double_up_to_a_bound_and_end() -> None:
    error = Unavailable("away")
    assert [pause_s(attempt, error) for attempt in range(1, 11)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, None]


def test_a_server_that_says_when_to_come_back_is_heard() -> None:
    assert pause_s(1, Overloaded("busy", retry_after=7)) == 7


@pytest.mark.parametrize("error", [InvalidInput("x"), Conflict("x"), StorageFull("x")])
def test_what_will_not_go_away_is_not_tried_again(error: InvalidInput | Conflict | StorageFull) -> None:
    assert pause_s(1, error) is None


def test_a_call_that_took_its_whole_deadline_is_tried_once_more() -> None:
    assert pause_s(1, DeadlineExceeded("late")) is not None
    assert pause_s(2, DeadlineExceeded("late")) is None


@pytest.mark.parametrize("note", ["12 of 40 documents", "OCR: 3/9 pages", ""])
def test_notes_of_counts_are_shown(note: str) -> None:
    assert safe_note(note) == note


@pytest.mark.parametrize("note", ["reading Preisliste.xlsx", "größe", "a\nb", "x" * 201])
def test_a_note_that_could_hold_a_name_is_left_out(note: str) -> None:
    assert safe_note(note) == ""


@pytest.mark.requirement("T-01")
def test_a_customers_roles_name_only_their_own_customer() -> None:
    for role in ("customer_admin", "customer_user"):
        assert may_name(caller(role, "acme"), "acme")
        assert not may_name(caller(role, "acme"), "other")
        assert not may_name(caller(role, None), "acme")


@pytest.mark.requirement("T-01")
def test_a_partner_reaches_the_customers_that_it_brought() -> None:
    assert may_reach(caller("partner_admin"), customer("acme", partner="usr_a"))
    assert not may_reach(caller("partner_admin"), customer("acme", partner="usr_b"))
    assert not may_reach(caller("partner_admin"), customer("acme"))


def test_an_administrator_reaches_every_customer_but_one_token_for_a_customer_only_that() -> None:
    assert may_reach(caller("platform_admin"), customer("acme"))
    assert not may_reach(caller("platform_admin", "other"), customer("acme"))
    assert not may_reach(caller("service"), customer("acme"))

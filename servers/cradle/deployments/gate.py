"""The gate: what an instance has to answer before it may serve. Questions and answers stay in memory.

Two kinds of questions. Sampled ones come from the instance itself: a passage of a document, asked for, has to lead back
to its document. Planted ones were given by the operator: one of the first passages has to hold the expected words.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.client import Upstream
from shared.contracts.deployment import Question
from shared.contracts.instance import DatasetAnswer, DocumentAnswer, DocumentList, Hit, SearchAnswer
from shared.contracts.processing import VerificationCheck, check
from shared.errors import Conflict

SAMPLES = 10
ENOUGH = 0.8  # of the samples: passages that many documents share lead to any of them
LISTED = 50
QUERY_CHARS = 300
FOUND_AMONG = 10
CALL_S = 30.0
PLANTED = "planted questions"
MENDING = (
    "The questions are kept and asked again. Mend the files with process_new_documents, or call deploy_customer with "
    "the image's tag (list_deployments has it) and other questions, or an empty list for none."
)


async def require_answers(instance: Upstream, dataset_digest: str, planted: Sequence[Question]) -> int:
    """Ask the instance; how many checks it passed.

    Raises:
        Conflict: a check failed; says which, never what was asked.
        PlatformError: the instance does not answer.
    """
    checks = await answers(instance, dataset_digest, planted)
    failed = [each for each in checks if not each.passed]
    if failed:
        said = f"The instance did not pass its gate ({failed[0].name}: {failed[0].detail})."
        raise Conflict(f"{said} {MENDING}" if failed[0].name == PLANTED else said)
    return len(checks)


async def answers(instance: Upstream, dataset_digest: str, planted: Sequence[Question]) -> list[VerificationCheck]:
    """Every check, passed or not. Details hold counts and digests only."""
    about = await instance.call("describe_dataset", {}, DatasetAnswer, deadline_s=CALL_S)
    checks = [check("dataset", about.dataset_digest == dataset_digest, about.dataset_digest)]
    found, asked = await _sampled(instance)
    checks.append(check("sampled questions", found >= ENOUGH * asked, f"{found} of {asked} found their document"))
    right = sum([await answered(instance, question) for question in planted])
    checks.append(check(PLANTED, right == len(planted), f"{right} of {len(planted)} answered"))
    return checks


async def _sampled(instance: Upstream) -> tuple[int, int]:
    """How many documents were found by a passage of theirs, of how many that were asked for."""
    listing = await instance.call("list_documents", {"limit": LISTED}, DocumentList, deadline_s=CALL_S)
    with_text = [each for each in listing.documents if each.chunks]
    step = max(1, len(with_text) // SAMPLES)
    chosen = with_text[::step][:SAMPLES]
    return sum([await _leads_back(instance, each.document_id) for each in chosen]), len(chosen)


async def _leads_back(instance: Upstream, document_id: str) -> bool:
    wanted = {"document_id": document_id, "limit": 1}
    document = await instance.call("get_document", wanted, DocumentAnswer, deadline_s=CALL_S)
    if not document.passages:
        return False
    text = document.passages[0].text
    hits = await search(instance, text[:QUERY_CHARS])
    return any(hit.citation.document_id == document_id or hit.text == text for hit in hits)


async def answered(instance: Upstream, question: Question) -> bool:
    """Whether one of the first passages holds the expected words."""
    hits = await search(instance, question.question)
    wanted = question.expected.casefold()
    return any(wanted in hit.text.casefold() for hit in hits)


async def search(instance: Upstream, query: str) -> list[Hit]:
    """The `FOUND_AMONG` best passages of an instance.

    Raises:
        PlatformError: the instance does not answer.
    """
    arguments = {"query": query, "limit": FOUND_AMONG, "detail": "detailed"}
    return (await instance.call("search", arguments, SearchAnswer, deadline_s=CALL_S)).hits

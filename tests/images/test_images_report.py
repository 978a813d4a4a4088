"""The report of a verification: true numbers of the image itself, three forms, nothing of a customer in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from servers.cradle.images.measure import Sampled, rank_of
from servers.cradle.images.package import package_delivery
from servers.cradle.images.plots import curve, dots, megabytes, ranks, sizes
from servers.cradle.images.render import _templates
from servers.cradle.images.render import report as rendered
from servers.cradle.images.report import FILES, report_of, write_report
from servers.cradle.images.signing import Signer
from servers.cradle.images.verify import verify_image
from servers.cradle.installations.probes import PROBES, Probes
from shared.contracts.image import ImageBuilt
from shared.contracts.processing import VerificationCheck
from shared.contracts.verification import ImageReport, SampledQuestions
from shared.dataset.recall import recall
from tests.image_rig import NO_ENGINE, QUESTION, TEXTS, CustomerImage, encoder_of, probes_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def probes(query_model: Path) -> Probes:
    return probes_of(query_model)


@pytest.fixture(scope="module")
async def found(customer_image: CustomerImage, probes: Probes, tmp_path_factory: pytest.TempPathFactory) -> ImageReport:
    """The report of the customer's image, started without an engine."""
    scratch = tmp_path_factory.mktemp("scratch")
    report = await verify_image(
        customer_image.tar, customer_image.built, scratch, customer_image.signer.verifier, probes, NO_ENGINE
    )
    assert list(scratch.iterdir()) == []
    return report


def test_a_good_image_passes_every_check_with_numbers_of_its_own(found: ImageReport) -> None:
    assert found.passed, [check for check in found.checks if not check.passed]
    names = {check.name for check in found.checks}
    assert names >= {
        "image.tar", "signature", "digests", "user", "starts", "model of the installation", "recall@10", "counts",
        "ledger", "rows", "sampled questions",
    }  # fmt: skip
    assert found.counts["documents"] == len(TEXTS)
    assert found.questions.ranks == [1, 1]
    assert found.recall == [1.0]
    assert found.start_seconds is not None
    assert len(found.probe_cosines) == len(PROBES)
    assert found.unpacked_bytes.keys() >= {"base", "runtime", "model", "vectors", "tables"}


def test_what_a_plot_is_labelled_with_is_text() -> None:
    drawn = str(_templates().get_template("report/plots.html.j2").module.lines(sizes({"<script>": 1}), '"&'))  # pyright: ignore[reportAttributeAccessIssue]
    assert "&lt;script&gt;" in drawn
    assert 'aria-label="&#34;&amp;"' in drawn


async def test_an_image_of_another_signer_or_model_is_named(
    customer_image: CustomerImage, probes: Probes, tmp_path: Path
) -> None:
    turned = Probes(probes.texts, np.roll(probes.vectors, 1, axis=1))
    other = Signer.open(tmp_path / "keys").verifier
    report = await verify_image(customer_image.tar, customer_image.built, tmp_path, other, turned, NO_ENGINE)
    assert not report.passed
    assert {check.name for check in report.checks if not check.passed} == {"signature", "model of the installation"}


async def test_recall_sees_a_search_that_misses(
    customer_image: CustomerImage, query_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.dataset import search

    question = encoder_of(query_model).encode([QUESTION], "query")
    root = str(customer_image.bucket / "dataset")
    assert (await recall(root, question, limit=2)).mean == 1.0
    honest = search.nearest

    async def worst_first(*arguments: object) -> list[dict[str, object]]:
        return list(reversed(await honest(*arguments)))  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(search, "nearest", worst_first)
    assert (await recall(root, question, limit=2)).mean == 0.5


async def test_the_package_brings_the_report_of_this_image_and_of_no_other(
    customer_image: CustomerImage, found: ImageReport
) -> None:
    bucket, spec = customer_image.bucket, customer_image.spec
    other = found.image.model_copy(update={"archive_digest": found.image.dataset_digest})
    write_report(bucket, found.model_copy(update={"image": other}))
    assert report_of(bucket, customer_image.built) == {}
    page = write_report(bucket, found)
    assert page.is_file()
    await package_delivery(bucket, spec.tag, spec, customer_image.signer)
    folder = bucket / "delivery" / spec.tag
    listed = (folder / "SHA256SUMS").read_text()
    for name in FILES:
        assert (folder / name).is_file()
        assert name in listed
    assert not any(re.search("Klemme|anleitung|Müller", (folder / name).read_text()) for name in FILES)


BUILT = {
    "customer_id": "acme", "tag": "p1", "size_bytes": 354_000_000, "method": "assembled", "seconds": 1,
    "layers": [{"kind": "base", "digest": "sha256:" + "0" * 64, "size_bytes": size} for size in (1_000, 2_500)],
    **dict.fromkeys(
        ("manifest_digest", "image_id", "archive_digest", "dataset_digest", "fingerprint"), "sha256:" + "0" * 64
    ),
}  # fmt: skip


def made(**more: object) -> ImageReport:
    """A report without an image."""
    fields = {"passed": True, "checks": [], "image": ImageBuilt.model_validate(BUILT), "verified_at": "2026-11-26"}
    return ImageReport.model_validate({**fields, **more})


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and whether they close in order."""

    VOID = frozenset({"meta", "rect", "line", "circle", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    report = made(
        questions=SampledQuestions(ranks=[1, 0, 3], milliseconds=[3.0, 5.5, 1.0]), recall=[1.0, 0.9],
        nearest_ms=[1.0, 2.0], probe_cosines=[1.0, 0.5], unpacked_bytes={"base": 10, "runtime": 20},
        start_seconds=1.25, counts={"documents": 3}, failures={"encrypted": 1},
    )  # fmt: skip
    page = Page(rendered("verification.html", report))
    assert page.open == []
    assert sum(tag == "svg" for tag, _ in page.seen) == 7
    assert not {tag for tag, _ in page.seen} & {"script", "link", "img", "iframe", "form", "a"}
    assert "3.5 kB" in rendered("verification.html", report)  # a pulled base has several layers
    assert not any(name in attributes for _, attributes in page.seen for name in ("src", "href", "onload"))


@pytest.mark.requirement("I-10")
def test_a_hostile_detail_stays_text() -> None:
    hostile = VerificationCheck(name="x", passed=False, detail="<script>alert(1)</script>|{{7*7}}")
    page = rendered("verification.html", made(passed=False, checks=[hostile]))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|{{7*7}}" in page
    assert not any(tag == "script" for tag, _ in Page(page).seen)
    rows = [line for line in rendered("verification.md", made(checks=[hostile])).splitlines() if "alert" in line]
    assert [line.count("|") for line in rows] == [4]


@pytest.mark.requirement("I-10")
def test_a_detail_of_several_lines_stays_one_row_of_its_table() -> None:
    broken = VerificationCheck(name="x", passed=False, detail="it said:\r\n\n# no heading\n")
    rows = rendered("verification.md", made(passed=False, checks=[broken])).splitlines()
    assert "| x | **FAILED** | it said: # no heading |" in rows


def test_the_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    report = made(recall=[1.0], start_seconds=0.5)
    folder = write_report(tmp_path, report).parent
    assert ImageReport.model_validate(json.loads((folder / "verification.json").read_text())) == report
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["p1"]


def test_a_hit_with_the_same_words_is_right_and_one_without_is_not() -> None:
    sampled = Sampled("0,6 Nm  an der Klemme", "chk_1")
    assert rank_of(sampled, [("chk_2", "anderes"), ("chk_3", "Höchstens 0,6 Nm an\nder Klemme.")]) == 2
    assert rank_of(sampled, [("chk_1", "gekürzt")]) == 1
    assert rank_of(sampled, [("chk_2", "0,6 Nm")]) == 0


def test_plots_are_drawn_from_the_numbers() -> None:
    assert [bar.text for bar in ranks([1, 1, 3, 0])] == ["2", "0", "1", *["0"] * 7, "1"]
    drawn = curve([4.0, 2.0])
    assert drawn is not None
    assert (drawn.median, drawn.largest, drawn.ticks[-1][1]) == ("2 ms", "4 ms", "5")
    assert drawn.points.startswith("0.0,170.0 224.0,170.0 224.0,85.0")
    assert curve([1.0]) is None
    marked = dots([1.0, 0.9], 0.99)
    assert marked is not None
    assert marked.points == ((140.0, 0.0, True), (420.0, 170.0, False))
    assert (round(marked.limit), marked.least) == (17, "0.99")
    assert (megabytes(701_000_000), megabytes(1_200), megabytes(9)) == ("701 MB", "1.2 kB", "9 B")

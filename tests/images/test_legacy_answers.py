"""Whether a real instance answers what the legacy deployment knew, and what does not count as an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.cradle.legacy.export import Export, Sample
from servers.cradle.legacy.reconcile import Reconciliation, ask
from shared.contracts.deployment import Question
from tests.image_rig import ANSWER, QUESTION, TEXTS, bundle, encoder_of
from tests.instance_rig import instance_of

pytestmark = [pytest.mark.slow, pytest.mark.requirement("O-07")]
TEXT = TEXTS["anleitung.pdf"]


async def test_a_passage_is_found_by_its_words_or_its_files_name_and_a_lost_one_is_a_difference(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    documents = [bundle(f"neu/{name}", text, encoder) for name, text in TEXTS.items()]
    spaced, renamed = TEXT.replace(" ", "\n  ").upper(), Sample(TEXT, "umbenannt.pdf")
    cut_otherwise = Sample(f"Kapitel 3. {TEXT}", "anleitung.pdf")
    lost = [
        Sample("Die Prüfspannung des Trenntransformators beträgt viertausend Volt.", name) for name in ("", "weg.pdf")
    ]
    async with instance_of(documents, query_model, tmp_path) as instance:

        async def asked(samples: list[Sample], *planted: Question) -> Reconciliation:
            found = Reconciliation()
            await ask(found, instance, Export(samples=samples), planted)
            return found

        held = [Sample(spaced, ""), renamed, cut_otherwise]
        assert [(check.passed, check.detail) for check in (await asked(held)).checks] == [(True, "3 of 3 found again")]
        found = await asked([*held * 6, *lost])  # 18 of 20: the last of them that is enough
        assert [(check.passed, check.detail) for check in found.checks] == [(True, "18 of 20 found again")]
        assert found.missing == {"sample answers": [lost[0].text] * 2}
        assert not (await asked([*held * 5, *lost])).checks[0].passed
        right = Question(question=QUESTION, expected=ANSWER)
        wrong = Question(question="Was wiegt die Hallenleuchte?", expected="99 kg")
        found = await asked([], right, right, wrong)
        assert [(check.passed, check.detail) for check in found.checks] == [(False, "2 of 3 answered")]
        assert found.missing == {"planted questions": [wrong.question]}
        assert (await asked([], right)).checks[0].passed

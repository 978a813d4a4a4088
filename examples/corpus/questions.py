"""Five questions to the example customer, each with the words that the right answer holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """What is asked, and the words of which the passage that answers it holds all."""

    text: str
    expected: tuple[str, ...]


QUESTIONS = (
    Question("Welches Anzugsdrehmoment gilt für die Reihenklemme RK 4?", ("0,6 Nm",)),
    Question("Welche Schutzart hat die Hallenleuchte HL-240-50?", ("IP66",)),
    Question("Wer hat die Isolationsmessung der Leuchte geprüft?", ("Osterkamp",)),
    Question("Wann werden die Hallenleuchten zum Auftrag 26-0815 geliefert?", ("17. April 2026",)),
    Question("Operating temperature and derating of the power supply NT-24-10", ("2.5 % per kelvin",)),
)

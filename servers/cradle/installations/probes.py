"""Probe texts: ours, fixed, embedded when parameters are saved and again before an update writes.

They cover what customers' documents hold (running text, tables, part numbers, units) in German and English, and both
kinds of input, so that a changed weight, tokenizer, prefix, pooling or precision moves at least one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from shared.contracts.embedding import InputType
from shared.contracts.verification import LEAST_COSINE
from shared.errors import Internal, ParameterDrift
from shared.ids import Digest, canonical_digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TENANT = "platform"

PROBES: tuple[tuple[InputType, str], ...] = (
    ("passage", "Der Leitungsschutzschalter schaltet bei Überlast und Kurzschluss ab und schützt die Leitung."),
    ("passage", "Vor Beginn der Arbeiten die Anlage spannungsfrei schalten und gegen Wiedereinschalten sichern."),
    (
        "passage",
        "Nennstrom 16 A, Auslösecharakteristik B, Bemessungsschaltvermögen 6 kA, 1-polig, 230/400 V AC, 50 Hz.",
    ),
    ("passage", "Artikel | Bezeichnung | Breite | Gewicht\nLS-16-B1 | Schutzschalter | 17,5 mm | 0,11 kg"),
    ("passage", "Schutzart IP65 nach EN 60529: staubdicht, geschützt gegen Strahlwasser aus beliebigem Winkel."),
    ("passage", "Lieferzeit drei bis fünf Werktage; Mindestbestellmenge 10 Stück; Preis je 100 Stück 412,50 EUR."),
    ("passage", "The residual current device disconnects the circuit when the leakage current exceeds 30 mA."),
    ("passage", "Tighten the terminal screws with 2.0 Nm. Use copper conductors from 1.5 to 16 mm² only."),
    ("passage", "Operating temperature -25 °C to +55 °C; storage temperature -40 °C to +70 °C; altitude up to 2000 m."),
    ("passage", "EC000042 EF000227 EV000397 4007123456789 REV.C 2024-11-03"),
    ("passage", "x"),
    ("query", "Welcher Schutzschalter passt zu einer Leitung mit 1,5 mm² Querschnitt?"),
    ("query", "Drehmoment der Anschlussklemmen"),
    ("query", "Which device trips at 30 mA residual current?"),
    ("query", "IP65 Gehäuse für den Außenbereich"),
    ("query", "4007123456789"),
)


class ProbeEmbedder(Protocol):
    """What is needed of the embedding service."""

    async def embed_vectors(self, texts: list[str], input_type: InputType, tenant: str, priority: Any) -> Any:
        """float32 [n, dimension], one row for each text."""
        ...


@dataclass(frozen=True)
class Probes:
    """The probe texts in order, and their vectors: float32 [n, dimension]."""

    texts: tuple[tuple[InputType, str], ...]
    vectors: NDArray[np.float32]


def probes_digest() -> Digest:
    """Digest of the texts: vectors of other texts cannot be compared."""
    return canonical_digest([list(each) for each in PROBES])


async def embed(embedder: ProbeEmbedder) -> NDArray[np.float32]:
    """The probes' vectors by the model in use: float32 [n, dimension], in the order of `PROBES`."""
    import numpy as np

    rows: list[Any] = [None] * len(PROBES)
    for kind in ("passage", "query"):
        places = [place for place, (input_type, _) in enumerate(PROBES) if input_type == kind]
        vectors = await embedder.embed_vectors([PROBES[place][1] for place in places], kind, TENANT, "interactive")
        for place, vector in zip(places, np.asarray(vectors, dtype="<f4"), strict=True):
            rows[place] = vector
    found = np.stack(rows)
    if not np.isfinite(found).all():
        raise Internal("The embedding model gives numbers that are not finite. Restart cradle and check the model.")
    return found


def pack(vectors: NDArray[np.float32]) -> bytes:
    """Little-endian float32, row after row."""
    import numpy as np

    return np.ascontiguousarray(vectors, dtype="<f4").tobytes()


def unpack(data: bytes, dimension: int) -> NDArray[np.float32]:
    """The vectors that `pack` wrote: float32 [n, dimension]."""
    import numpy as np

    return np.frombuffer(data, dtype="<f4").reshape(-1, dimension)


def cosines(stored: NDArray[np.float32], current: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row with the same row of the other: float64 [n]; of a row of zeros, or with NaN or infinity in it, 0."""
    import numpy as np

    left, right = stored.astype(np.float64), current.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore"):
        found = (left * right).sum(axis=1) / np.maximum(lengths, 1e-12)
    return np.where(np.isfinite(lengths), found, 0.0)


def require_same(stored: NDArray[np.float32], current: NDArray[np.float32]) -> None:
    """Refuses a model whose probe vectors are not the installation's.

    Raises:
        ParameterDrift: another dimension, or a cosine below `LEAST_COSINE`; the message says which probe and how far.
    """
    if stored.shape != current.shape:
        raise ParameterDrift(
            f"The model gives {current.shape[1]} numbers a text, the installation {stored.shape[1]}. Serve its model.",
            field="embedding.dimension",
        )
    found = cosines(stored, current)
    worst = int(found.argmin())
    if not found[worst] >= LEAST_COSINE:
        raise ParameterDrift(
            f"The model's weights differ from the installation's: probe {worst + 1} has cosine {found[worst]:.4f}, "
            f"below {LEAST_COSINE}. Serve the model that was installed.",
            field="embedding.weights_digest",
        )

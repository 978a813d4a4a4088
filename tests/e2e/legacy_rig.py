"""A small legacy deployment as an earlier platform left it: files, Delta tables, a LanceDB table, and a graph dump."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from shared.dataset.lance import module

TEXTS = {
    "datenblaetter/rk4.txt": "Das Anzugsdrehmoment der Reihenklemme RK 4 beträgt 0,6 Nm bei starrem Leiter.",
    "datenblaetter/hl240.txt": "Die Hallenleuchte HL-240-50 hat die Schutzart IP66 und wiegt 4,1 Kilogramm.",
    "handbuch/nt24.txt": "The power supply NT-24-10 derates by 2.5 % per kelvin above 55 °C ambient temperature.",
}
GHOST = "Das verschollene Blatt nennt als Prüfspannung des Trenntransformators viertausend Volt."
ARTICLES = "Artikelnummer;Bezeichnung;Preis\nRK-4;Reihenklemme;1,20\nHL-240-50;Hallenleuchte;240,00\n"


def write_legacy(root: Path, *, ghost: bool = False) -> None:
    """Write it. `ghost`: its tables know a document, with a passage, and an article that no file holds."""
    files = {**TEXTS, "preise.csv": ARTICLES}
    for name, text in files.items():
        (root / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "files" / name).write_text(text)
    paths = [f"/srv/old/{name}" for name in files] + (["/srv/old/verschollen.pdf"] if ghost else [])
    articles = ["RK-4", "HL-240-50"] + (["GEIST-1"] if ghost else [])
    (root / "delta").mkdir()
    write_deltalake(str(root / "delta" / "documents"), pa.table({"id": list(range(len(paths))), "file_path": paths}))
    write_deltalake(str(root / "delta" / "products"), pa.table({"supplier_pid": articles}))
    random = np.random.default_rng(1)
    passages = {**TEXTS, **({"verschollen.pdf": GHOST} if ghost else {})}
    rows = [
        {"text": text, "source": name, "vector": random.random(16, np.float32).tolist()}
        for name, text in passages.items()
    ]
    module().connect(str(root / "lancedb")).create_table("embeddings", rows)
    (root / "neo4j").mkdir()
    (root / "neo4j" / "neo4j.dump").write_bytes(random.bytes(512))

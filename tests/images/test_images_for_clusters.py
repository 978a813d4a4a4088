"""What a delivery brings for Kubernetes and Neo4j: a chart that renders to the manifest, the graph as CSV."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from servers.cradle.images import neo4j_import
from servers.cradle.images.neo4j_import import EDGES, NODES, neo4j_files
from servers.cradle.images.render import delivery, helm_chart
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from shared.contracts.image import ImageBuilt
from shared.dataset.graph import parquet
from shared.dataset.rows import EdgeRow, NodeRow
from shared.dataset.schemas import to_arrow
from shared.errors import InvalidInput
from shared.ids import digest
from tests.image_rig import small_image

SPEC = ImageSpec(customer_id="acme", tag="p1", fingerprint=digest(b"f"), dataset_digest=digest(b"d"))
ODD = 'Klemme "RK 4"\nmit Deckel, grün'
GRAPH = {
    "data/graph/nodes.parquet": parquet(
        to_arrow(
            "nodes", [NodeRow("prd_1", "product", ODD, "RK-4", "doc_1"), NodeRow("doc_1", "document", "a", "", "d")]
        )
    ),
    "data/graph/edges.parquet": parquet(to_arrow("edges", [EdgeRow("doc_1", "prd_1", "CONTAINS", "")])),
}


def image_with(files: dict[str, bytes], folder: Path) -> Path:
    """A tar with one layer, gzipped, as `docker save` names it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    target = folder / "image.tar"
    with tarfile.open(target, "w") as tar:
        for name, data in {"layer": layer.getvalue(), "manifest.json": b'[{"Layers":["layer"]}]'}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(gzip.decompress(data).decode())))


def test_the_graph_is_csv_with_the_headers_that_neo4j_reads(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    sums = neo4j_files(image_with(GRAPH, tmp_path), 0, tmp_path / "made")
    found = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    nodes, edges = rows(found[NODES]), rows(found[EDGES])
    assert nodes[0] == ["id:ID", "kind", "name", "number", "document_id", ":LABEL"]
    assert ["prd_1", "product", ODD, "RK-4", "doc_1", "Node"] in nodes
    assert edges == [[":START_ID", ":END_ID", "kind", "label", ":TYPE"], ["doc_1", "prd_1", "CONTAINS", "", "Edge"]]
    (tmp_path / "again").mkdir()
    assert sums == neo4j_files(tmp_path / "image.tar", 0, tmp_path / "again")


def test_a_graph_of_many_batches_is_whole_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neo4j_import, "ROWS", 7)
    made = [NodeRow(f"prd_{at:03}", "product", "n", "", "d") for at in range(100)]
    graph = {**GRAPH, "data/graph/nodes.parquet": parquet(to_arrow("nodes", made))}
    neo4j_files(image_with(graph, tmp_path), 0, tmp_path)
    assert [row[0] for row in rows((tmp_path / NODES).read_bytes())[1:]] == [row.id for row in made]


def test_a_layer_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        neo4j_files(image_with({"data/manifest.json": b"{}"}, tmp_path), 0, tmp_path)


def test_the_import_script_calls_neo4j_admin_with_every_file(tmp_path: Path) -> None:
    signer = Signer.open(tmp_path / "keys").verifier
    built = small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys")).built
    script = tmp_path / "neo4j-import.sh"
    script.write_text(delivery("neo4j-import.sh", SPEC, built, signer))
    asked = tmp_path / "neo4j-admin"
    asked.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for path in (script, asked):
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    run = subprocess.run(
        [str(script)], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [
        "database", "import", "full", "--overwrite-destination", "--multiline-fields=true", "--id-type=string",
        "--nodes=neo4j-nodes.csv.gz", "--nodes=neo4j-dataset.csv", "--relationships=neo4j-edges.csv.gz", "neo4j",
    ]  # fmt: skip
    alone = subprocess.run([str(script)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    assert "Name a docker volume" in alone.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageBuilt, Signer]:
    folder = tmp_path_factory.mktemp("chart")
    signer = Signer.open(folder / "keys")
    return small_image(folder / "bucket", signer).built, signer


def values(built: tuple[ImageBuilt, Signer], **more: Any) -> dict[str, Any]:
    return {**yaml.safe_load(delivery("helm-values.yaml", SPEC, built[0], built[1].verifier)), **more}


def rendered(tmp_path: Path, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The chart's objects by Helm's own library; skips where it is not installed."""
    helm = pytest.importorskip("helm_python", reason="Helm's library is not here: pip install helm-python-sdk")
    (tmp_path / "chart.tgz").write_bytes(helm_chart())
    with helm.Chart.load(str(tmp_path / "chart.tgz")) as chart:
        chart.validate_schema(given)
        found = chart.render(given, name="acme", namespace="default")
    texts = [text for name, text in sorted(found.items()) if name.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def test_the_chart_renders_to_the_manifest_of_the_delivery(built: tuple[ImageBuilt, Signer], tmp_path: Path) -> None:
    plain = list(yaml.safe_load_all(delivery("kubernetes.yaml", SPEC, built[0], built[1].verifier)))
    made = rendered(tmp_path, values(built, accessKey={"existingSecret": "acme-instance"}))
    for each in made:
        each["metadata"].pop("annotations", None)
    assert {each["kind"]: each for each in made} == {each["kind"]: each for each in plain}


def test_the_chart_makes_an_access_key_that_nobody_ships(built: tuple[ImageBuilt, Signer], tmp_path: Path) -> None:
    secrets = [
        each["data"]["access-key"]
        for _ in range(2)
        for each in rendered(tmp_path, values(built))
        if each["kind"] == "Secret"
    ]
    assert len(set(secrets)) == 2


@pytest.mark.requirement("I-10")
@pytest.mark.parametrize("customer", ["a\nkind: Pod", "{{ .Release }}", "-a", "A", ""])
def test_the_chart_refuses_a_value_that_could_be_structure(
    built: tuple[ImageBuilt, Signer], tmp_path: Path, customer: str
) -> None:
    with pytest.raises(Exception, match="does not match pattern"):
        rendered(tmp_path, values(built, customer=customer))


def test_the_chart_is_the_same_bytes_on_every_run_and_holds_a_chart() -> None:
    first = helm_chart()
    helm_chart.cache_clear()
    assert first == helm_chart()
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        names = set(tar.getnames())
        chart = tar.extractfile("instance/Chart.yaml")
        assert chart is not None
        assert yaml.safe_load(chart.read())["apiVersion"] == "v2"
    assert {"instance/values.yaml", "instance/values.schema.json", "instance/templates/deployment.yaml"} <= names

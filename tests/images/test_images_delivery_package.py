"""The delivery package: whole, signed, without a secret, and it runs on a machine that has only a container engine."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest
import yaml

from servers.cradle.images.package import package_delivery
from servers.cradle.images.render import compose as compose_file
from servers.cradle.images.render import delivery
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.updates import DeliveredDataset, make_update, push_update
from shared.client import Upstream
from shared.contracts.image import DeliveryPackage
from shared.contracts.instance import SearchAnswer
from shared.dataset.delta import ledger
from shared.dataset.places import Place
from shared.ids import digest
from tests.image_rig import ANSWER, QUESTION, CustomerImage, write_dataset
from tests.serving_rig import free_port

pytestmark = pytest.mark.slow
NEW = {"neu.pdf": "Der Sanftanlasser SA-90 verträgt höchstens zwölf Anläufe je Stunde."}
MOVED = """set -e
docker compose stop && docker compose cp instance:/var/lib/instance/. - > ../state.tar && docker compose down --volumes
./start.sh && docker compose stop && docker compose cp - instance:/var/lib/instance < ../state.tar && ./start.sh
"""  # the commands of the README, on one machine
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{40}"
    rb"|AGE-SECRET-KEY-1[A-Z0-9]{20}|INSTANCE_ACCESS_KEY=[A-Za-z0-9]"
)


@pytest.fixture(scope="module")
async def package(customer_image: CustomerImage) -> DeliveryPackage:
    return await package_delivery(
        customer_image.bucket, customer_image.spec.tag, customer_image.spec, customer_image.signer, as_tar=True
    )


@pytest.fixture
def handed_over(package: DeliveryPackage, tmp_path: Path) -> Path:
    """The package's tar, unpacked where the customer would."""
    assert package.tar is not None
    with tarfile.open(package.tar) as tar:
        tar.extractall(tmp_path, filter="data")
    return next(path for path in tmp_path.iterdir() if path.is_dir())


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def without_docker(tmp_path: Path) -> str:
    """A PATH on which `docker` succeeds and does nothing: signature and hashes are checked before it."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text("#!/bin/sh\nexit 0\n")
    (folder / "docker").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_package_holds_what_a_person_with_docker_needs(handed_over: Path) -> None:
    assert {path.name for path in handed_over.iterdir()} == {
        "README.md", "SHA256SUMS", "SHA256SUMS.sig", "docker-compose.yml", "helm-values.yaml", "image.tar",
        "image.tar.sig", "instance-chart.tgz", "kubernetes.yaml", "neo4j-dataset.csv", "neo4j-edges.csv.gz",
        "neo4j-import.sh", "neo4j-nodes.csv.gz", "provenance.dsse.json", "sbom.cdx.json", "signature.json",
        "signer.pub", "start.sh", "verify.sh",
    }  # fmt: skip
    readme = (handed_over / "README.md").read_text()
    assert "## English" in readme
    assert "## Deutsch" in readme
    for command in (line for line in MOVED.replace(" && ", "\n").splitlines() if "compose cp" in line):
        assert readme.count(command) == 2
    for script in ("start.sh", "verify.sh", "neo4j-import.sh"):
        assert (handed_over / script).stat().st_mode & 0o111
        assert run(handed_over, "sh", "-n", script).returncode == 0


@pytest.mark.requirement("O-05", "S-01")
@pytest.mark.parametrize(
    "altered", ["docker-compose.yml", "SHA256SUMS", "SHA256SUMS.sig", "sbom.cdx.json", "image.tar"]
)
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_the_check_refuses_a_package_that_was_altered(
    handed_over: Path, tmp_path: Path, altered: str, how: str
) -> None:
    path = handed_over / altered
    content = path.read_bytes()
    path.unlink()
    if how == "altered":
        path.write_bytes(content[::-1])
    found = run(handed_over, "./verify.sh", PATH=without_docker(tmp_path), LC_ALL="C")
    assert found.returncode == 1
    if altered.startswith("SHA256SUMS"):
        assert "NOT the signed delivery" in found.stderr
    else:
        assert f"{altered}: FAILED" in found.stdout
        assert found.stderr.endswith("Copy the delivery once more.\n")
    assert "NOT the delivered image" not in found.stderr  # it has not come as far as docker
    assert "error:" not in found.stderr  # openssl's own


@pytest.mark.requirement("S-01")
@pytest.mark.parametrize("put", ["compose.yaml", "docker-compose.override.yml", ".hidden/x", "a name"])
def test_the_check_refuses_a_file_that_is_put_beside_the_signed_ones(
    handed_over: Path, tmp_path: Path, put: str
) -> None:
    """Docker's compose reads some in place of the signed one, or over it."""
    (handed_over / put).parent.mkdir(exist_ok=True)
    (handed_over / put).write_text("services: {}")
    found = run(handed_over, "./verify.sh", PATH=without_docker(tmp_path), LC_ALL="C")
    assert (found.returncode, found.stderr.strip()) == (1, f"NOT of the delivery, remove it: {put}")


@pytest.mark.requirement("S-01")
def test_the_check_says_that_an_access_key_which_lies_there_already_is_nobodys_it_knows(
    handed_over: Path, tmp_path: Path
) -> None:
    (handed_over / ".env").write_text("INSTANCE_ACCESS_KEY=known")
    found = run(handed_over, "./verify.sh", PATH=without_docker(tmp_path), LC_ALL="C")
    assert "NOTE: .env is not of the delivery" in found.stderr
    (handed_over / ".env").write_text("INSTANCE_PORT=9400\nCOMPOSE_FILE=/elsewhere/compose.yaml\n")
    found = run(handed_over, "./verify.sh", PATH=without_docker(tmp_path), LC_ALL="C")
    assert (found.returncode, "a line of .env" in found.stderr) == (1, True)


@pytest.mark.requirement("S-01")
def test_the_check_refuses_another_signer(handed_over: Path, tmp_path: Path) -> None:
    from servers.cradle.images.signing import Signer

    stranger = tmp_path / "stranger.pub"
    stranger.write_bytes(Signer.open(tmp_path / "keys").verifier.pem)
    found = run(handed_over, "./verify.sh", "--key", str(stranger), PATH=without_docker(tmp_path))
    assert found.returncode == 1
    assert "NOT the signed delivery" in found.stderr


@pytest.mark.requirement("S-01")
def test_a_key_is_looked_for_where_the_check_was_called(handed_over: Path, tmp_path: Path) -> None:
    """The signed delivery was told to be none where its key lay beside the folder, or nowhere."""
    shutil.copy(handed_over / "signer.pub", tmp_path / "a key.pub")
    called = ("sh", f"{handed_over.name}/verify.sh", "--key")
    found = run(tmp_path, *called, "a key.pub", PATH=without_docker(tmp_path), LC_ALL="C")
    assert "image.tar: OK" in found.stdout, found.stderr
    for named in (["none.pub"], []):
        found = run(tmp_path, *called, *named, PATH=without_docker(tmp_path), LC_ALL="C")
        assert (found.returncode, "NOT checked: there is no such file" in found.stderr) == (1, True)


@pytest.mark.requirement("S-01")
@pytest.mark.parametrize(("lacks", "said"), [("sha256sum", "no sha256sum"), ("openssl", "no openssl")])
def test_the_check_says_what_this_machine_lacks_before_it_begins(
    handed_over: Path, tmp_path: Path, lacks: str, said: str
) -> None:
    (tmp_path / "few").mkdir()
    for name in {"sh", "dirname", "openssl", "sha256sum", "docker"} - {lacks}:
        (tmp_path / "few" / name).symlink_to(shutil.which(name) or "/bin/true")
    found = run(handed_over, "./verify.sh", PATH=str(tmp_path / "few"))
    assert (found.returncode, found.stdout, said in found.stderr) == (1, "", True)
    assert found.stderr.startswith("NOT checked: ")


def test_where_docker_is_not_installed_the_files_are_checked_before_that_is_said(
    handed_over: Path, tmp_path: Path
) -> None:
    for name in ("sh", "dirname", "openssl", "sha256sum", "mktemp", "rm", "cut", "find", "sed", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    found = run(handed_over, "./verify.sh", PATH=str(tmp_path), LC_ALL="C")
    assert (found.returncode, "image.tar: OK" in found.stdout) == (1, True), found.stderr
    assert "NOT checked: Docker is not installed" in found.stderr


@pytest.mark.requirement("S-02")
def test_no_layer_and_no_file_of_the_package_holds_a_secret(
    handed_over: Path, customer_image: CustomerImage, tmp_path: Path
) -> None:
    planted = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64
    assert SECRETS.search(planted)
    assert SECRETS.search(b"INSTANCE_ACCESS_KEY=abc")
    own = customer_image.bucket.with_name(customer_image.bucket.name + "-keys") / "image-signing.pem"
    line = own.read_bytes().splitlines()[1]
    for path in handed_over.iterdir():
        if path.name != "image.tar":
            assert not SECRETS.search(path.read_bytes()), path.name
            assert line not in path.read_bytes()
    files = 0
    with tarfile.open(handed_over / "image.tar") as image:
        config = json.loads(image.extractfile("manifest.json").read())[0]["Config"]  # pyright: ignore[reportOptionalMemberAccess]
        assert not SECRETS.search(image.extractfile(config).read())  # pyright: ignore[reportOptionalMemberAccess]
        for name in (name for name in image.getnames() if name.startswith("blobs/sha256/")):
            blob = image.extractfile(name)
            assert blob is not None
            if blob.read(2) != b"\x1f\x8b":
                continue
            blob.seek(0)
            with gzip.open(blob) as plain, tarfile.open(fileobj=plain, mode="r|") as layer:
                for member in layer:
                    if member.isreg() and member.size < 4 * 2**20:
                        data = layer.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
                        assert not SECRETS.search(data), member.name
                        assert line not in data
                        files += 1
    assert files > 1000


@pytest.mark.requirement("I-10")
def test_values_change_no_structure_of_any_file(customer_image: CustomerImage) -> None:
    plain = customer_image.spec
    strange = ImageSpec(
        customer_id="a0", tag="_.-" + "x" * 100, fingerprint=digest(b"other"), dataset_digest=digest(b"another"),
        parameter_version=99,
    )  # fmt: skip
    built, signer = customer_image.built, customer_image.signer.verifier
    for name in ("start.sh", "verify.sh", "README.md", "neo4j-import.sh", "helm-values.yaml"):
        one, two = (delivery(name, spec, built, signer) for spec in (plain, strange))
        assert len(one.splitlines()) == len(two.splitlines())
        for field in ("customer_id", "tag", "dataset_digest"):  # the README has the last of the image as it was built
            one, two = (text.replace(getattr(plain, field), getattr(strange, field)) for text in (one, two))
        assert one == two, name
    for spec in (plain, strange):
        texts = {"compose": compose_file(spec, signer), "kubernetes": delivery("kubernetes.yaml", spec, built, signer)}
        shapes = {name: [shape(each) for each in yaml.safe_load_all(text)] for name, text in texts.items()}
        if spec is plain:
            expected = shapes
    assert shapes == expected


def shape(value: object) -> object:
    """The structure of a document without its strings."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


def test_the_kubernetes_manifest_closes_the_pod_in(customer_image: CustomerImage) -> None:
    text = delivery("kubernetes.yaml", customer_image.spec, customer_image.built, customer_image.signer.verifier)
    deployment, claim, service, policy = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsUser"] == 65532
    assert {"cpu", "memory"} == container["resources"]["limits"].keys()
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert policy["spec"]["egress"] == []
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


async def update_of(image: CustomerImage, model: Path, bucket: Path) -> Path:
    """A signed update of the image's dataset that brings one new document."""
    shutil.copytree(image.bucket / "dataset", bucket / "dataset")
    dataset = Place(str(bucket / "dataset"))
    base = DeliveredDataset(image.built.dataset_digest, ledger(dataset))
    manifest = await write_dataset(bucket / "dataset", NEW, model)
    made = await make_update("acme", base, dataset, manifest, bucket, image.signer)
    return Path(made.location)


@pytest.mark.engine
@pytest.mark.requirement("O-05", "O-02", "O-06")
async def test_the_package_is_checked_started_asked_updated_and_made_anew_with_docker_compose_alone(
    handed_over: Path, compose: str, customer_image: CustomerImage, query_model: Path, tmp_path: Path
) -> None:
    port = free_port()
    verified = run(handed_over, "./verify.sh", DOCKER_HOST=compose)
    assert verified.returncode == 0, verified.stderr
    assert "Signed by sha256:" in verified.stdout
    try:
        started = run(handed_over, "./start.sh", DOCKER_HOST=compose, INSTANCE_PORT=str(port))
        assert started.returncode == 0, started.stderr
        key = (handed_over / ".env").read_text().strip().partition("=")[2]
        assert len(key) == 64
        assert (handed_over / ".env").stat().st_mode & 0o777 == 0o600
        async with Upstream(f"http://127.0.0.1:{port}/mcp", key=key) as upstream:
            answer = await upstream.call("search", {"query": QUESTION, "limit": 1}, SearchAnswer)
        assert ANSWER in answer.hits[0].text
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as page:  # noqa: ASYNC210
            assert json.load(page)["status"] == "healthy"
        update = await update_of(customer_image, query_model, tmp_path / "grown")
        async with Upstream(f"http://127.0.0.1:{port}/mcp", key=key) as upstream:
            await push_update(update, upstream)
        down = run(handed_over, "docker", "compose", "down", "--timeout", "25", DOCKER_HOST=compose)
        assert down.returncode == 0, down.stderr
        again = run(handed_over, "./start.sh", DOCKER_HOST=compose, INSTANCE_PORT=str(port))
        assert key in again.stdout
        async with Upstream(f"http://127.0.0.1:{port}/mcp", key=key) as upstream:
            answer = await upstream.call("search", {"query": "Anläufe des SA-90", "limit": 1}, SearchAnswer)
        assert NEW["neu.pdf"] in answer.hits[0].text
        newer = shutil.copytree(handed_over, tmp_path / "newer", copy_function=os.link)
        (newer / ".env").unlink()
        refused = run(newer, "./start.sh", DOCKER_HOST=compose, INSTANCE_PORT=str(port))
        assert (refused.returncode, f"cp '{handed_over}/.env' ." in refused.stderr) == (1, True)
        moved = run(handed_over, "sh", "-c", MOVED, DOCKER_HOST=compose, INSTANCE_PORT=str(port))
        assert moved.returncode == 0, moved.stderr
        async with Upstream(f"http://127.0.0.1:{port}/mcp", key=key) as upstream:
            answer = await upstream.call("search", {"query": "Anläufe des SA-90", "limit": 1}, SearchAnswer)
        assert NEW["neu.pdf"] in answer.hits[0].text
    finally:
        run(handed_over, "docker", "compose", "down", "--volumes", "--timeout", "25", DOCKER_HOST=compose)
        run(handed_over, "docker", "image", "rm", "-f", "0711/acme:p1-one", DOCKER_HOST=compose)
        shutil.rmtree(handed_over)

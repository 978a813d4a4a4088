"""Signatures, bill of materials and provenance of an image: what they say is true, and what is false is refused."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest

from servers.cradle.images.sbom import licences_of
from servers.cradle.images.signing import SignedBy, Signer
from servers.cradle.images.unpack import read_image
from shared.errors import Conflict, InvalidInput
from shared.signatures import Verifier
from tests.image_rig import CustomerImage, told_by_the_schema

pytestmark = pytest.mark.slow


def policy(image: CustomerImage) -> SignedBy:
    return SignedBy(image.signer.verifier, image.spec.repository)


def check(image: CustomerImage, folder: Path, using: SignedBy | None = None) -> dict[str, str]:
    return (using or policy(image)).verify(folder, image.built.manifest_digest, image.built.archive_digest)


@pytest.fixture
def copied(customer_image: CustomerImage, tmp_path: Path) -> Path:
    """The image's folder without the tar, to be altered."""
    return Path(shutil.copytree(customer_image.folder, tmp_path / "image", ignore=shutil.ignore_patterns("*.tar")))


@pytest.mark.requirement("S-01")
def test_the_signature_of_a_built_image_holds(customer_image: CustomerImage) -> None:
    signed = check(customer_image, customer_image.folder)
    assert signed["com.0711.dataset.digest"] == customer_image.built.dataset_digest


def unsigned(folder: Path) -> None:
    (folder / "signature.json").unlink()


def altered(folder: Path) -> None:
    outer = json.loads((folder / "signature.json").read_bytes())
    payload = base64.b64decode(outer["payload"]).replace(
        b'"com.0711.sbom.digest":"sha256:', b'"com.0711.sbom.digest":"x'
    )
    outer["payload"] = base64.b64encode(payload).decode()
    (folder / "signature.json").write_text(json.dumps(outer))


def bill_of_materials_altered(folder: Path) -> None:
    path = folder / "sbom.cdx.json"
    path.write_bytes(path.read_bytes().replace(b"lancedb", b"harmless"))


def cut(folder: Path) -> None:
    path = folder / "signature.json"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.requirement("S-01")
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (unsigned, "not signed"),
        (altered, "altered"),
        (bill_of_materials_altered, "bill of materials"),
        (cut, "damaged"),
    ],
)
def test_an_unsigned_or_altered_image_is_refused(
    customer_image: CustomerImage, copied: Path, harm: Callable[[Path], None], words: str
) -> None:
    harm(copied)
    with pytest.raises(Conflict, match=words):
        check(customer_image, copied)


@pytest.mark.parametrize(
    "signed", [b"{}", b"[]", b"7", b"\xff", b'{"critical":{"type":"x"}}', b'{"critical":7,"optional":7}']
)
def test_what_the_key_has_signed_beside_images_is_no_signature_of_one(
    customer_image: CustomerImage, copied: Path, signed: bytes
) -> None:
    signer = customer_image.signer
    outer = {
        "payload": base64.b64encode(signed).decode(), "signature": base64.b64encode(signer.sign(signed)).decode(),
        "key_id": signer.verifier.key_id,
    }  # fmt: skip
    (copied / "signature.json").write_text(json.dumps(outer))
    with pytest.raises(Conflict, match="of another kind"):
        check(customer_image, copied)


@pytest.mark.requirement("S-01")
def test_another_key_another_customer_and_another_image_are_refused(
    customer_image: CustomerImage, tmp_path: Path
) -> None:
    stranger = Signer.open(tmp_path).verifier
    with pytest.raises(Conflict, match="another key"):
        check(customer_image, customer_image.folder, SignedBy(stranger, customer_image.spec.repository))
    with pytest.raises(Conflict, match="another customer"):
        check(customer_image, customer_image.folder, SignedBy(customer_image.signer.verifier, "0711/other"))
    with pytest.raises(Conflict, match="not the one that was signed"):
        policy(customer_image).verify(
            customer_image.folder, customer_image.built.manifest_digest, customer_image.built.image_id
        )


def test_the_signing_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first, second = Signer.open(tmp_path / "keys"), Signer.open(tmp_path / "keys")
    assert first.verifier == second.verifier
    assert (tmp_path / "keys" / "image-signing.pem").stat().st_mode & 0o777 == 0o600


def test_openssl_finds_the_signature_of_the_tar_right(customer_image: CustomerImage, tmp_path: Path) -> None:
    folder = customer_image.folder
    (tmp_path / "der").write_bytes(base64.b64decode((folder / "image.tar.sig").read_bytes()))
    command = ["openssl", "dgst", "-sha256", "-verify", folder / "signer.pub", "-signature", tmp_path / "der"]
    assert subprocess.run([*command, folder / "image.tar"], capture_output=True, check=False).returncode == 0
    assert subprocess.run([*command, folder / "image.json"], capture_output=True, check=False).returncode != 0


@pytest.mark.requirement("S-01")
def test_the_bill_of_materials_equals_what_is_installed_in_the_image(
    customer_image: CustomerImage, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    read_image(customer_image.tar, root)
    installed = {
        (found.name.lower().replace("_", "-").replace(".", "-"), found.version)
        for found in metadata.distributions(path=[str(root / "opt/0711/site")])
    }
    libraries = {
        f"/{path.relative_to(root)}"
        for folder in ("usr/lib", "usr/local/lib", "lib", "lib64")
        for path in (root / folder).rglob("*.so*")
        if path.is_file() and not path.is_symlink() and "/python3" not in str(path.relative_to(root))
    }
    bill = json.loads((customer_image.folder / "sbom.cdx.json").read_bytes())
    packages = {
        (each["purl"].removeprefix("pkg:pypi/").split("@")[0], each["version"])
        for each in bill["components"]
        if each.get("purl", "").startswith("pkg:pypi/")
    }
    assert packages == installed
    licensed = {each["name"] for each in bill["components"] if "licenses" in each}
    assert {"Jinja2", "lancedb", "tokenizers", "mcp"} <= licensed  # some say it by a classifier alone
    assert {each["name"] for each in bill["components"] if each["type"] == "file"} == libraries
    assert ("lancedb", metadata.version("lancedb")) in packages
    assert [each["type"] for each in bill["components"]].count("machine-learning-model") == 1


@pytest.mark.parametrize(
    ("said", "licences"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: MIT", [{"expression": "MIT OR Apache-2.0"}]),
        ("License: Apache 2", [{"license": {"name": "Apache 2"}}]),
        ("Classifier: License :: OSI Approved :: BSD License", [{"license": {"name": "BSD License"}}]),
        (f"License: {'Permission is granted ' * 9}\nClassifier: Topic :: Text", []),
    ],
)
def test_a_packages_licence_is_what_its_metadata_says(said: str, licences: list[object]) -> None:
    assert licences_of(HeaderParser().parsestr(f"Name: x\n{said}\n\n")) == licences


def test_the_bill_of_materials_is_valid_cyclonedx(customer_image: CustomerImage) -> None:
    text = (customer_image.folder / "sbom.cdx.json").read_text()
    assert told_by_the_schema(text) is None
    assert told_by_the_schema(text.replace('"bomFormat":"CycloneDX"', '"bomFormat":"Other"')) is not None


@pytest.mark.requirement("S-01")
def test_the_provenance_names_dataset_parameters_and_layers_and_is_signed(
    customer_image: CustomerImage, tmp_path: Path
) -> None:
    built, envelope = customer_image.built, (customer_image.folder / "provenance.dsse.json").read_bytes()
    statement = customer_image.signer.verifier.statement(envelope)
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {each["digest"]["sha256"] for each in statement["subject"]} == {
        built.manifest_digest.removeprefix("sha256:"),
        built.archive_digest.removeprefix("sha256:"),
    }
    definition = statement["predicate"]["buildDefinition"]
    sources = {each["name"]: each["digest"]["sha256"] for each in definition["resolvedDependencies"]}
    assert sources["dataset"] == built.dataset_digest.removeprefix("sha256:")
    assert {f"layer/{layer.kind}" for layer in built.layers} <= sources.keys()
    assert definition["internalParameters"]["parameter_fingerprint"] == built.fingerprint
    with pytest.raises(Conflict, match="expected key"):
        Signer.open(tmp_path).verifier.statement(envelope)
    with pytest.raises(Conflict):
        customer_image.signer.verifier.statement(envelope.replace(b'"payload":"e', b'"payload":"f'))


def test_a_file_that_is_no_key_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing")
    for name in ("key", "missing"):
        with pytest.raises(InvalidInput, match="public key"):
            Verifier.read(tmp_path / name)
    verifier = Signer.open(tmp_path / "keys").verifier
    (tmp_path / "image-signing.pem").write_text("nothing")
    with pytest.raises(Conflict, match="Put it back from a backup"):
        Signer.open(tmp_path)
    assert (tmp_path / "image-signing.pem").read_text() == "nothing"
    (tmp_path / "key").write_bytes(verifier.pem)
    assert Verifier.read(tmp_path / "key") == Verifier.of_text(verifier.text) == verifier

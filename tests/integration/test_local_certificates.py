"""A certificate of an erasure is checked by a public key alone: altered, foreign and exchanged ones do not hold."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
from typer.testing import CliRunner, Result

from servers.__main__ import app
from servers.cradle.images.archive import Archive
from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.erasure import erase
from servers.cradle.images.signing import KEY_NAME, Signer
from shared.errors import InvalidInput, Unavailable
from shared.objects import CustomerStore
from shared.settings import Settings
from shared.signatures import Verifier


async def erased(home: Path, customer: str = "abschied") -> Path:
    """The certificate of a customer with two objects and a key, which was erased."""
    settings, signer = Settings(home=home), Signer.open(home / "keys")
    store = await CustomerStore.open(settings, customer, create=True)
    for key in ("sources.json", "dataset/part"):
        await store.put(key, b"content")
    CustomerKey.open(home / "keys" / "customers", customer, create=True)
    archive = Archive(home / "archive", home / "keys" / "customers", signer.verifier)
    made = await erase(store, customer, archive, signer, home / "certificates", rows=7, instances=1)
    return Path(made.location)


def verified(file: Path, home: Path, *flags: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify-certificate", str(file), "--home", str(home), *map(str, flags)])


def altered(file: Path, target: Path) -> Path:
    """The certificate with another number of rows under the same signature."""
    envelope = orjson.loads(file.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"rows":7', b'"rows":8')
    target.write_bytes(orjson.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    return target


async def test_a_certificate_that_holds_says_in_words_what_was_erased_and_by_whose_key(tmp_path: Path) -> None:
    file = await erased(tmp_path / "home")
    for trusted, whose in (((), "this platform's key"), (("--key", public_key(tmp_path)), "that of ")):
        shown = verified(file, tmp_path / "home", *trusted)
        assert shown.exit_code == 0, shown.output
        lines = dict(line.split(maxsplit=1) for line in shown.output.splitlines())
        assert lines["customer"] == "abschied"
        assert lines["rows"].startswith("7 ")
        assert lines["bucket"].startswith("2 objects")
        assert lines["signature"].startswith("holds, by sha256:")
        assert whose in lines["signature"]


def public_key(folder: Path) -> Path:
    """The public half of the home's key, as a delivery has it."""
    (folder / "signer.pub").write_bytes(public_verifier(folder / "home").pem)
    return folder / "signer.pub"


def public_verifier(home: Path) -> Verifier:
    return Signer.open(home / "keys").verifier


async def test_an_altered_a_damaged_and_a_foreign_certificate_do_not_hold_and_nothing_of_them_is_said(
    tmp_path: Path,
) -> None:
    home, cut = tmp_path / "home", tmp_path / "cut.json"
    file, foreign = await erased(home), await erased(tmp_path / "other")
    cut.write_bytes(file.read_bytes()[:-20])
    for broken, why in (
        (altered(file, tmp_path / "altered.json"), "It was altered"),
        (foreign, "It is not signed by sha256:"),
        (cut, "no signed statement"),
    ):
        shown = verified(broken, home)
        assert shown.exit_code == 1
        assert why in shown.output
        assert "DOES NOT HOLD" in shown.output
        assert "abschied" not in shown.output


async def test_what_the_same_key_signed_about_something_else_is_no_certificate(tmp_path: Path) -> None:
    statement = public_verifier(tmp_path / "home").statement((await erased(tmp_path / "home")).read_bytes())
    file = tmp_path / "provenance.json"
    file.write_bytes(Signer.open(tmp_path / "home" / "keys").envelope({**statement, "predicateType": "urn:other"}))
    shown = verified(file, tmp_path / "home")
    assert shown.exit_code == 1
    assert "no certificate of an erasure" in shown.output


async def test_a_certificate_holds_after_the_key_was_replaced_and_says_that_an_earlier_one_signed(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    before = await erased(home)
    earlier = public_key(tmp_path)
    (home / "keys" / KEY_NAME).unlink()
    after = await erased(home, "nachher")
    assert "holds, by" in (shown := verified(before, home)).output
    assert "an earlier key of this platform" in shown.output
    assert "this platform's key" in verified(after, home).output
    for lost in (home / "certificates").glob("*.pub"):
        lost.unlink()
    without = verified(before, home)
    assert (without.exit_code, "--key signer.pub" in without.output) == (1, True)
    assert verified(before, home, "--key", earlier).exit_code == 0
    assert verified(after, home, "--key", earlier).exit_code == 1  # the named key alone counts


async def test_where_there_is_no_key_that_is_said_and_none_is_made(tmp_path: Path) -> None:
    file = await erased(tmp_path / "home")
    empty = tmp_path / "empty"
    for flags, error in (((), Unavailable), (("--key", file), InvalidInput)):
        shown = verified(file, empty, *flags)
        assert isinstance(shown.exception, error)
    assert not (empty / "keys").exists()


def test_a_file_that_is_missing_is_told_before_a_key_that_is_missing(tmp_path: Path) -> None:
    shown = verified(tmp_path / "missing", tmp_path / "empty")
    assert isinstance(shown.exception, FileNotFoundError)

"""S/MIME: what is signed is read without any key, a signature is no unread file, what is encrypted says so."""

from __future__ import annotations

import datetime
from email.message import EmailMessage

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from tests.tables_rig import extracted, texts

PART = 'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nKlemme für 10 mm²\r\n'


@pytest.fixture(scope="module")
def owner() -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Müller")])
    begin = datetime.datetime(2026, 1, 1)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=999))
    return built.sign(key, hashes.SHA256()), key


def signed(owner: tuple[x509.Certificate, rsa.RSAPrivateKey], data: bytes, *options: pkcs7.PKCS7Options) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(*owner, hashes.SHA256())
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, *options])


def mail(data: bytes, kind: str = "pkcs7-mime", name: str = "smime.p7m") -> bytes:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = "Preise", "a@x.example", "b@y.example"
    made.set_content(data, maintype="application", subtype=kind, filename=name)
    return made.as_bytes()


def streamed(data: bytes) -> bytes:
    """A signed message of unknown lengths, in pieces, as mail programmes write what they do not hold as a whole."""
    pieces = b"".join(b"\x04" + bytes((len(part),)) + part for part in (data[:40], data[40:]))
    content = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0\x80\x24\x80" + pieces + bytes(6)
    body = b"\x02\x01\x01\x31\x00" + content + b"\x31\x00" + bytes(2)
    return b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x30\x80" + body + bytes(4)


def test_what_a_mail_has_signed_is_read_without_a_key(owner: tuple[x509.Certificate, rsa.RSAPrivateKey]) -> None:
    for data in (signed(owner, PART.encode()), streamed(PART.encode())):
        found = extracted(mail(data), "a.eml")
        assert texts(found)[-1] == "Klemme für 10 mm²"
        assert [each.code for each in found.attachments] == ["", ""]


def test_a_signed_file_is_read_under_its_own_name(owner: tuple[x509.Certificate, rsa.RSAPrivateKey]) -> None:
    found = extracted(signed(owner, b"Artikelnummer;Name\nA-1;Klemme\n"), "Preise.csv.p7m")
    assert [each.article_number for each in found.products] == ["A-1"]
    assert [each.name for each in found.attachments] == ["Preise.csv"]


def test_a_signature_beside_what_it_signs_holds_nothing(owner: tuple[x509.Certificate, rsa.RSAPrivateKey]) -> None:
    beside = signed(owner, b"anderswo", pkcs7.PKCS7Options.DetachedSignature)
    found = extracted(mail(beside, "pkcs7-signature", "smime.p7s"), "a.eml")
    assert [(each.name, each.code) for each in found.attachments] == [("smime.p7s", "")]
    assert "anderswo" not in "".join(texts(found))


def test_what_is_encrypted_is_a_row_that_says_so(owner: tuple[x509.Certificate, rsa.RSAPrivateKey]) -> None:
    sealed = pkcs7.PKCS7EnvelopeBuilder().set_data(b"geheim").add_recipient(owner[0])
    found = extracted(mail(sealed.encrypt(Encoding.DER, [])), "a.eml")
    assert found.attachments[-1].code == "encrypted"
    assert "unencrypted" in found.attachments[-1].reason


def test_a_cut_or_bent_one_is_damaged(owner: tuple[x509.Certificate, rsa.RSAPrivateKey]) -> None:
    for data in (signed(owner, PART.encode())[:60], streamed(PART.encode())[:70], b"\x30\x80" * 5000):
        whole = streamed(b"")[:19] + data if data.startswith(b"\x30\x80\x30") else data
        with pytest.raises(Unreadable, match="damaged"):
            list(read(*identify(whole, "a.p7m")))

"""Servers whose TLS certificate is refused: the error says that and why, whichever client asked."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from servers.cradle.vision.base import Ask
from servers.cradle.vision.openai import OpenAiVision
from servers.marketplace.gateway.asking import Place, ask_modern
from servers.marketplace.gateway.outgoing import Outgoing, _trusted
from shared.certificates import fault
from shared.client import StaticKey, Upstream
from shared.errors import InvalidInput, NotFound, Unavailable
from shared.objects import CustomerStore
from shared.postgres.connection import connected
from tests.conftest import s3_settings

TODAY = datetime.datetime.now(datetime.UTC)
UNTRUSTED = "is of an authority that this machine does not trust"


class Authority:
    """An authority of the test's own; `file` is what a machine that trusts it has."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        self.file = folder / "authority.pem"
        uses = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        own = self._signed(self._key, self._name, (-30, 30)).add_extension(x509.BasicConstraints(True, None), True)
        own = own.add_extension(uses, True)
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def context(self, days: tuple[int, int], host: str = "127.0.0.1") -> ssl.SSLContext:
        """Of a server that has a certificate for an address, valid from and to these days from today."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        leaf = self._signed(key, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")]), days)
        signed = leaf.add_extension(names, False).sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / "server.pem"
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.num_tickets = 0  # each connection looks at the certificate
        return context

    def _signed(
        self, key: ec.EllipticCurvePrivateKey, name: x509.Name, days: tuple[int, int]
    ) -> x509.CertificateBuilder:
        since, until = (TODAY + datetime.timedelta(days=each) for each in days)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(until)
        subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(subject, False).add_extension(issuer, False)


@contextlib.asynccontextmanager
async def served(context: ssl.SSLContext) -> AsyncIterator[str]:
    """The address of a server that answers 200 to HEAD, else 404."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            asked = await reader.readuntil(b"\r\n\r\n")
            status = b"200 OK" if asked.startswith(b"HEAD ") else b"404 Not Found"
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def _upstream(url: str, home: Path) -> None:
    async with Upstream(url + "/mcp", StaticKey("key"), name="cradle") as upstream:
        await upstream.call("embed", {})


async def _gateway(url: str, home: Path) -> None:
    outgoing = Outgoing()
    try:
        await ask_modern(outgoing, Place(url + "/mcp", True, ("authorization", "Bearer x")), "tools/list", {})
    finally:
        outgoing.close()


async def _vision(url: str, home: Path) -> None:
    provider = OpenAiVision(SecretStr("key"), "model", url, 60.0)
    try:
        await provider.read(b"png", 1, Ask())
    finally:
        await provider.close()


async def _buckets(url: str, home: Path) -> None:
    await CustomerStore.open(s3_settings(home, url.replace("//", "//key:secret@")), "acme")


@pytest.fixture(autouse=True)
def _trust_is_read_anew() -> Iterator[None]:
    _trusted.cache_clear()
    yield
    _trusted.cache_clear()


CLIENTS: dict[str, Callable[..., Awaitable[None]]] = {
    "cradle": _upstream, "server": _gateway, "vision provider": _vision, "object store": _buckets,
}  # fmt: skip


def test_what_openssl_says_is_told_where_it_is_none_of_the_usual() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "Missing Authority Key Identifier"
    assert fault(OSError("x")) is None
    assert fault(error) == "is refused (Missing Authority Key Identifier): renew it"


async def test_a_postgres_whose_certificate_has_expired_is_told(tmp_path) -> None:
    authority = Authority(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # SSLRequest
        writer.write(b"S")
        with contextlib.suppress(OSError):
            await writer.start_tls(authority.context((-9, -1)))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    place = f"postgresql://role:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/database"
    with pytest.raises(Unavailable, match=r"^The TLS certificate of Postgres has expired: renew it\.$"):
        async with connected(f"{place}?sslmode=verify-full&sslrootcert={authority.file}"):
            pass
    server.close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/nowhere", "names is not there"),
        ("postgresql://u:secret@127.0.0.1:1/x?sslmode=quatsch", "P0711_POSTGRES_URL: its scheme, sslmode"),
        ("mysql://u:secret@127.0.0.1/x", "P0711_POSTGRES_URL: its scheme, sslmode"),
        ("postgresql://u:secret@nowhere.invalid/x", "has no address here"),
    ],
)
async def test_an_address_of_postgres_that_cannot_be_used_is_told_without_its_secret(address: str, told: str) -> None:
    with pytest.raises((InvalidInput, Unavailable)) as refused:
        async with connected(address):
            pass
    assert told in refused.value.message
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("name", CLIENTS)
async def test_an_unknown_authority_is_told_by_every_client(name, tmp_path) -> None:
    async with served(Authority(tmp_path).context((-1, 1))) as url:
        with pytest.raises(Unavailable) as told:
            await CLIENTS[name](url, tmp_path)
    assert told.value.message.startswith(f"The TLS certificate of the {name} {UNTRUSTED}: ")
    assert "SSL_CERT_FILE" in told.value.message


@pytest.mark.parametrize("name", ["server", "vision provider", "object store"])
@pytest.mark.parametrize(
    ("days", "host", "why"),
    [
        ((-9, -1), "127.0.0.1", "has expired: renew it."),
        ((1, 9), "127.0.0.1", "is not valid yet: compare this machine's clock with the server's."),
        ((-1, 9), "127.0.0.2", "is for another name: ask the server under the name in its certificate, or renew that."),
    ],
)
async def test_what_is_wrong_with_a_known_authoritys_certificate_is_told(
    name, days, host, why, tmp_path, monkeypatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with served(authority.context(days, host)) as url:
        with pytest.raises(Unavailable) as told:
            await CLIENTS[name](url, tmp_path)
    assert told.value.message == f"The TLS certificate of the {name} {why}"


async def test_the_gateway_asks_a_server_of_an_authority_that_ssl_cert_file_names(tmp_path, monkeypatch) -> None:
    authority, outgoing = Authority(tmp_path), Outgoing()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with served(authority.context((-1, 9))) as url:
        reply = await ask_modern(outgoing, Place(url + "/mcp", True, ("authorization", "Bearer x")), "tools/list", {})
    outgoing.close()
    assert (reply.status, reply.result) == (404, None)


async def test_both_clients_of_the_object_store_trust_what_ssl_cert_file_names_and_both_tell_that_it_has_expired(
    tmp_path, monkeypatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    context = authority.context((-9, 9))
    async with served(context) as url:
        settings = s3_settings(tmp_path, url.replace("//", "//key:secret@")).model_copy(update={"s3_role": None})
        store = await CustomerStore.open(settings, "acme")
        with pytest.raises(NotFound):
            await store.get("dataset/manifest.json")
        authority.context((-9, -1))
        context.load_cert_chain(tmp_path / "server.pem")
        with pytest.raises(Unavailable, match=r"^The TLS certificate of the object store has expired: renew it\.$"):
            await store.get("dataset/manifest.json")

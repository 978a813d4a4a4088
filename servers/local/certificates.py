"""`0711 verify-certificate`: whether a certificate of an erasure holds, by public keys alone: without a platform."""

from __future__ import annotations

from pathlib import Path

from servers.cradle.images.erasure import Certificate, read_certificate
from servers.cradle.images.signing import KEY_NAME, Signer
from shared.errors import Conflict, Unavailable
from shared.settings import Settings
from shared.signatures import Verifier

MOST = 2**20
"""Bytes that are read of a file: a certificate has a thousand or two."""


def verify(settings: Settings, path: Path, named: list[Path]) -> tuple[list[str], bool]:
    """What a certificate says, in lines, and whether its signature holds; of one that does not, nothing is said.

    Args:
        named: files of public keys, which alone count where there are any. Else those of the home folder: the key that
            signs there, and the earlier ones, whose public halves each erasure put beside its certificate.

    Raises:
        InvalidInput: a named file holds no public key.
        Unavailable: there is no key to check with.
        OSError: the certificate cannot be read.
    """
    with path.open("rb") as file:  # before the keys: a name that was mistyped is no matter of theirs
        envelope = file.read(MOST)
    keys = {Verifier.read(each): f"that of {each}" for each in named} or platform_keys(settings.home)
    if not keys:
        raise Unavailable(f"There is no key of a platform in {settings.home}. Name it: --home, or --key signer.pub.")
    try:
        certificate, key = read_certificate(envelope, path, list(keys))
    except Conflict as error:
        lines = [f"signature      DOES NOT HOLD. {error.message}"]
        if not named:
            lines.append("another key    the platform's was replaced since? Name the earlier: --key signer.pub")
        return lines, False
    return [*_told(certificate), f"signature      holds, by {key.key_id}: {keys[key]}"], True


def platform_keys(home: Path) -> dict[Verifier, str]:
    """The public keys whose certificates count in a home folder, and whose each is; blocking."""
    found = {Verifier.read(each): "an earlier key of this platform" for each in (home / "certificates").glob("*.pub")}
    if (home / "keys" / KEY_NAME).exists():  # opening that of a mistyped home would make one
        found[Signer.open(home / "keys").verifier] = "this platform's key"
    return found


def _told(made: Certificate) -> list[str]:
    destroyed = f"destroyed, {made.archive_key}" if made.archive_key else "there was none"
    return [
        f"customer       {made.customer_id}",
        f"erased         {made.erased_at:%Y-%m-%d %H:%M:%S} UTC",
        f"instances      {made.instances} containers and volumes removed",
        f"rows           {made.rows} removed from the databases",
        f"bucket         {made.objects} objects removed",
        f"archive        {made.archived_images} images removed",
        f"archive's key  {destroyed}",
        "not covered    backups made before, the customer's sources, deliveries that were handed over",
    ]

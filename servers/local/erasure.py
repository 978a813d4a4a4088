"""`0711 erase`: one customer leaves the platform: instances, rows, bucket with every version, archive, keys."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from servers.cradle.deployments.service import Deployments
from servers.cradle.images.archive import Archive
from servers.cradle.images.customer_keys import key_folder, was_made
from servers.cradle.images.erasure import Certificate, erase
from servers.cradle.images.signing import Signer
from servers.local.one_customer import remove_left
from servers.local.platform import MIGRATIONS, Notify
from servers.local.whole import superuser_of, the_whole
from shared.audit import AuditLog
from shared.errors import InvalidInput, NotFound
from shared.objects import CustomerStore, bucket_name
from shared.postgres.database import Database
from shared.postgres.erasure import erase_rows, names_customer
from shared.postgres.urls import database_urls
from shared.settings import Settings


async def erase_customer(settings: Settings, customer: str, confirm: str, notify: Notify) -> Certificate:
    """Erase a customer for ever and sign a certificate of it. May be repeated: what is gone is counted as nothing.

    The databases have to run. Order: the intent into the audit log, the platform's rows, so that nobody can order
    anything of the customer while its content goes, instances, the other rows, then key, archive and bucket. Instances
    are looked for again at the end: a deployment that cradle had been told of directly may have ended in between.

    Raises:
        InvalidInput: `confirm` is not the customer's id, or it is no id.
        NotFound: nothing here is or ever was of this customer; nothing was signed.
        Conflict: a job of the customer is open, or a backup is being made; nothing was touched.
        Unavailable: a database, an engine or the object store does not answer; call again.
    """
    bucket_name(customer)
    if confirm != customer:
        raise InvalidInput("Repeat the customer's id: 0711 erase CUSTOMER --confirm CUSTOMER.", field="confirm")
    superuser_url = superuser_of(settings)  # first: a mistyped home gets no keys
    signer = await asyncio.to_thread(Signer.open, settings.home / "keys")
    archive = Archive(settings.home / "archive", key_folder(settings), signer.verifier, settings.archive_immutable)
    async with the_whole(superuser_url):
        await remove_left(settings, superuser_url)
        if not await _known(settings, customer, archive, superuser_url):
            raise NotFound(
                f"There is and was no customer {customer} here: nothing was erased. `list_customers` names the ids."
            )
        made = await _erased(settings, customer, signer, archive, superuser_url, notify)
    notify("backups        those made before now hold the customer still: destroy them")
    return made


async def _erased(
    settings: Settings, customer: str, signer: Signer, archive: Archive, superuser_url: str, notify: Notify
) -> Certificate:
    await _audited(settings, customer)
    rows = await erase_rows(superuser_url, "platform", customer)
    instances = await _instances(settings, customer, signer)
    others = [name for name in MIGRATIONS if name != "platform"]
    rows += sum([await erase_rows(superuser_url, name, customer) for name in others])
    instances += await _instances(settings, customer, signer)
    notify(f"instances      {instances} containers and volumes removed")
    notify(f"rows           {rows} removed")
    store = await CustomerStore.open(settings, customer, create=True)
    certificates = settings.home / "certificates"
    made = await erase(store, customer, archive, signer, certificates, rows=rows, instances=instances)
    notify(
        f"objects        {made.objects} removed, {made.archived_images} archived images, the archive's key destroyed"
    )
    return made


async def _known(settings: Settings, customer: str, archive: Archive, superuser_url: str) -> bool:
    """A certificate for a mistyped id would say that a customer is gone whose data lies here as before."""
    if (archive.folder / customer).exists() or was_made(archive.keys, customer):
        return True
    with suppress(NotFound):
        await CustomerStore.open(settings, customer)
        return True
    return any([await names_customer(superuser_url, name, customer) for name in MIGRATIONS])


async def _audited(settings: Settings, customer: str) -> None:
    async with Database(database_urls(settings, "user_registry").app) as database:
        await AuditLog(database).append("operator", "customer.erased", customer, customer)


async def _instances(settings: Settings, customer: str, signer: Signer) -> int:
    async with Database(database_urls(settings, "installation_configs").app) as database:
        return await Deployments(settings, database, signer.verifier).erase(customer)

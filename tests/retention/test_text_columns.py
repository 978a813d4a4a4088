"""Columns that could hold a sentence are few, and each is known: a new one is looked at before it is here."""

from __future__ import annotations

import asyncpg
import pytest

from tests.conftest import Databases, migrated_packages

UNBOUND = """
SELECT c.table_name || '.' || c.column_name AS place
FROM information_schema.columns AS c
JOIN information_schema.tables AS t USING (table_schema, table_name)
WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
  AND c.data_type NOT IN ('smallint', 'integer', 'bigint', 'boolean', 'real', 'double precision', 'date',
                          'timestamp with time zone')
  AND NOT EXISTS (
      SELECT FROM pg_constraint AS k
      JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
      WHERE k.conrelid = format('%I.%I', c.table_schema, c.table_name)::regclass AND a.attname = c.column_name
        AND (k.contype = 'f' OR k.contype = 'c' AND pg_get_constraintdef(k.oid) ~ ('\\m' || a.attname || $1)))
"""
"""Columns that are neither numbers nor times, and that no foreign key, pattern or list of words binds."""
BINDS = r""" (~ '\^([^.\\' \[]|\[[^]\\' ]+\])+\$'|= ANY)"""
"""A pattern from beginning to end, without a wildcard and without blanks: no sentence fits."""

ALLOWED = {
    "made by the platform: ids, digests, names of its own code": (
        "applied.checksum applied.name applied.package api_keys.key_id api_keys.secret_sha256 "
        "authorizations.client_sha256 authorizations.resource authorizations.scope catalogue_entries.registered_by "
        "customers.deployment_target customers.partner_id installations.fingerprint installs.installed_by "
        "job_keys.created_by jobs.created_by server_tools.approved_by services.client_id services.secret_sha256 "
        "users.password_hash users.user_id approvals.decided_by approvals.requested_by approvals.tool "
        "licences.document licences.issued_by licences.key_id licences.signature quotas.key connections.saved_by "
        "connections.sealed invitations.secret_sha256"
    ),
    "written by the operator, about the arguments of tools": "argument_rules.condition",
    "counts, digests, durations and sentences of ours about a job": (
        "jobs.choice jobs.error jobs.progress jobs.questions jobs.result jobs.steps audit.detail"
    ),
    "the golden source: parameters, and vectors of texts that are ours": (
        "installations.parameters installations.probe_vectors"
    ),
    "who the platform's customers and users are": (
        "customers.company_name customers.contact_email users.email invitations.email job_keys.idempotency_key"
    ),
    "what a server says of itself in the catalogue": (
        "authorizations.redirect_uri catalogue_entries.description catalogue_entries.title catalogue_entries.tools "
        "catalogue_entries.package catalogue_entries.url catalogue_entries.version customers.mcps "
        "server_tools.name server_tools.pinned "
        "server_tools.seen_definition entry_words.word server_versions.description server_versions.title "
        "server_versions.version usage.server_name usage.tool entry_vectors.model "
        "entry_vectors.vector"
    ),
}
KNOWN = frozenset(place for places in ALLOWED.values() for place in places.split())


async def unbound_columns(database: Databases, package: str) -> set[str]:
    connection = await asyncpg.connect((await database(package)).urls.owner)
    try:
        return {row["place"] for row in await connection.fetch(UNBOUND, BINDS)}
    finally:
        await connection.close()


@pytest.mark.requirement("Z-03")
async def test_every_column_that_could_hold_a_sentence_is_known(database: Databases, migrated_package: str) -> None:
    found = await unbound_columns(database, migrated_package)
    assert found, "the query finds what every package has: the names of its migrations"
    assert found - KNOWN == set()


@pytest.mark.requirement("Z-03")
async def test_a_column_that_is_gone_leaves_the_list(database: Databases) -> None:
    found = [await unbound_columns(database, package) for package in migrated_packages()]
    assert not KNOWN - set[str]().union(*found)

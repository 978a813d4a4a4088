"""One customer's credentials for the object store do nothing in another one's bucket.

The refusals are the store's own, so they need one that has roles: `.ci/s3` starts Ceph's gateway, and TEST_S3_URL and
TEST_S3_ROLE name it. Renewal is shown against a service that answers as AWS's does.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import deltalake
import obstore
import orjson
import pyarrow as pa
import pytest
from aiohttp import web
from minio import Minio
from minio.error import S3Error
from obstore.exceptions import BaseError
from obstore.store import S3Store

from shared.bucket_credentials import BucketCredentials, policy_of
from shared.dataset.lance import module
from shared.errors import Unavailable
from shared.ids import new_handle
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.conftest import s3_settings

DENIED = re.compile("denied|403|forbidden", re.IGNORECASE)
"""What obstore, Lance and Delta say of a refusal."""


@pytest.fixture
async def stores(tmp_path: Path, s3_url: str) -> AsyncIterator[tuple[CustomerStore, CustomerStore]]:
    """Two customers; the name of one begins like the other's."""
    if not os.environ.get("TEST_S3_ROLE"):
        pytest.skip("needs an S3 server with roles: .ci/s3 starts one")
    settings = s3_settings(tmp_path, s3_url)
    first = new_handle("acme").replace("_", "-")
    opened = [await CustomerStore.open(settings, name, create=True) for name in (first, f"{first}-x")]
    for store in opened:
        await store.put("dataset/manifest.json", b"{}")
    yield opened[0], opened[1]
    for store in opened:
        await store.remove()


@pytest.mark.requirement("T-07")
async def test_the_store_denies_one_customers_credentials_everything_in_anothers_bucket(
    stores: tuple[CustomerStore, CustomerStore],
) -> None:
    own, other = stores
    config: Any = own.storage_options()
    foreign = S3Store(other.bucket, config=config, client_options={"allow_http": True})
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: obstore.get_async(foreign, "dataset/manifest.json"),
        lambda: obstore.head_async(foreign, "dataset/manifest.json"),
        lambda: obstore.put_async(foreign, "dataset/manifest.json", b"altered"),
        lambda: obstore.put_async(foreign, "dataset/new.json", b"new"),
        lambda: obstore.delete_async(foreign, "dataset/manifest.json"),
        lambda: obstore.list_with_delimiter_async(foreign),
        lambda: obstore.copy_async(foreign, "dataset/manifest.json", "dataset/copy.json"),
    ]
    for attempt in attempts:
        with pytest.raises(BaseError, match=DENIED):
            await attempt()
    assert await other.get("dataset/manifest.json") == b"{}"
    assert await other.list() == [("dataset/manifest.json", 2)]


@pytest.mark.requirement("T-07")
async def test_neither_lance_nor_delta_opens_anothers_tables(stores: tuple[CustomerStore, CustomerStore]) -> None:
    own, other = stores
    rows = pa.table({"n": [1, 2, 3]})
    for store in stores:
        deltalake.write_deltalake(store.path("tables"), rows, storage_options=store.storage_options())
    options = own.storage_options()
    assert deltalake.DeltaTable(own.path("tables"), storage_options=options).version() == 0
    with pytest.raises(Exception, match=DENIED):
        deltalake.DeltaTable(other.path("tables"), storage_options=options)
    with pytest.raises(Exception, match=DENIED):
        deltalake.write_deltalake(other.path("tables"), rows, mode="append", storage_options=options)
    await (await module().connect_async(own.path("vectors"), storage_options=options)).create_table("chunks", rows)
    with pytest.raises(Exception, match=DENIED):
        await module().connect_async(other.path("vectors"), storage_options=options)


@pytest.mark.requirement("T-07")
async def test_a_customers_credentials_list_make_and_remove_no_buckets(
    stores: tuple[CustomerStore, CustomerStore],
) -> None:
    own, other = stores
    options = own.storage_options()
    client = Minio(
        urlsplit(options["aws_endpoint"]).netloc, options["aws_access_key_id"], options["aws_secret_access_key"],
        options["aws_session_token"], secure=False, region=options["aws_region"],
    )  # fmt: skip
    with pytest.raises(S3Error, match="AccessDenied"):
        client.make_bucket(f"{own.bucket}-y")
    with pytest.raises(S3Error, match="AccessDenied"):
        client.remove_bucket(other.bucket)
    with pytest.raises(S3Error, match="AccessDenied"):
        client.set_bucket_policy(own.bucket, policy_of(other.bucket))
    with pytest.raises(S3Error, match="AccessDenied"):
        client.list_buckets()


@pytest.mark.requirement("T-07")
def test_what_is_asked_for_is_one_bucket_its_objects_and_no_more() -> None:
    statements = orjson.loads(policy_of("customer-acme"))["Statement"]
    named = {resource: {*each["Action"]} for each in statements for resource in each["Resource"]}
    assert named.keys() == {"arn:aws:s3:::customer-acme", "arn:aws:s3:::customer-acme/*"}
    assert named["arn:aws:s3:::customer-acme"] == {
        "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketLocation"
    }  # fmt: skip
    assert {each["Effect"] for each in statements} == {"Allow"}
    assert not [action for actions in named.values() for action in actions if "*" in action or "Policy" in action]


class Service:
    """Answers `AssumeRole`: each time with other credentials, that last as long as `lasts` says."""

    def __init__(self) -> None:
        self.lasts = timedelta(hours=1)
        self.asked: list[dict[str, str]] = []
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append({**await request.post()})  # pyright: ignore[reportArgumentType]
        number, ends = len(self.asked), datetime.now(UTC) + self.lasts
        body = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
            <AccessKeyId>key-{number}</AccessKeyId><SecretAccessKey>secret-{number}</SecretAccessKey>
            <SessionToken>token-{number}</SessionToken><Expiration>{ends:%Y-%m-%dT%H:%M:%S}.123456789Z</Expiration>
            </Credentials></AssumeRoleResult></AssumeRoleResponse>"""
        return web.Response(text=body, content_type="text/xml", status=self.status)


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, Settings]]:
    told, app = Service(), web.Application()
    app.router.add_post("/", told.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    settings = s3_settings(Path("unused"), "http://key:secret@127.0.0.1:1").model_copy(
        update={"s3_role": "arn:aws:iam::1:role/customers", "sts_endpoint": address}
    )
    yield told, settings
    await runner.cleanup()


@pytest.mark.requirement("T-07")
async def test_credentials_are_kept_for_half_of_their_time_and_then_renewed(service: tuple[Service, Settings]) -> None:
    told, settings = service
    held = BucketCredentials(settings, "customer-acme", {"aws_region": "eu-central-1", "aws_access_key_id": "platform"})
    first = await asyncio.to_thread(held.options)
    assert (first["aws_access_key_id"], first["aws_region"]) == ("key-1", "eu-central-1")
    assert await asyncio.to_thread(held.options) == first
    told.lasts = timedelta(minutes=29)
    other = BucketCredentials(settings, "customer-bolt", {})
    assert (await asyncio.to_thread(other.options))["aws_session_token"] == "token-2"
    assert (await asyncio.to_thread(other.for_obstore))["token"] == "token-3"
    policies = [each["Policy"] for each in told.asked]
    assert policies == [policy_of(name) for name in ("customer-acme", "customer-bolt", "customer-bolt")]
    assert {each["RoleArn"] for each in told.asked} == {settings.s3_role}


async def test_a_service_that_fails_costs_nothing_until_the_credentials_end(service: tuple[Service, Settings]) -> None:
    told, settings = service
    told.lasts = timedelta(minutes=20)
    held = BucketCredentials(settings, "customer-acme", {})
    first = await asyncio.to_thread(held.options)
    told.status = 503
    assert await asyncio.to_thread(held.options) == first
    assert await asyncio.to_thread(held.options) == first
    assert len(told.asked) == 2  # and it is not asked again each time
    other = BucketCredentials(settings, "customer-bolt", {})
    with pytest.raises(Unavailable, match="P0711_S3_ROLE") as refused:
        await asyncio.to_thread(other.options)
    assert "secret" not in str(refused.value)

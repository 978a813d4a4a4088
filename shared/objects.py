"""Object storage: one bucket for each customer, in a folder or on an S3-compatible server. The same calls serve both.

Data goes through obstore. What obstore does not do (making and removing buckets, versions) goes through the minio
client, in threads. A write is whole or absent: a folder gets it by rename, S3 by the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.bucket_credentials import BucketCredentials
from shared.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    TooLarge,
    Unavailable,
)
from shared.ids import CUSTOMER_PATTERN
from shared.object_errors import NO_ANSWER, RETRY_AFTER_S, Replaced, of_os, translated
from shared.proxies import pool
from shared.settings import Settings

if TYPE_CHECKING:
    from minio import Minio
    from obstore.store import ObjectStore, S3Credential

STREAMED_BYTES = 4 * 2**20
MAX_KEY_BYTES = 900
MAX_PART_BYTES = 200  # file systems allow 255, a write in progress adds a suffix
REQUEST_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 5
RETRIES = 3
LIST_PAGE = 1000
"""Keys of a whole page of an S3 list."""

_STAGED = re.compile(r"#\d+$")  # obstore's name of a write in progress


def bucket_name(customer_id: str) -> str:
    """The bucket of a customer.

    Raises:
        InvalidInput: not a customer id.
    """
    if not re.fullmatch(CUSTOMER_PATTERN, customer_id) or not 2 <= len(customer_id) <= 40:
        raise InvalidInput("A customer id has lower-case letters, digits and single dashes.", field="customer_id")
    return f"customer-{customer_id}"


def checked_key(key: str) -> str:
    """The key itself, when it is a plain relative path that means the same in a folder and on S3.

    Raises:
        InvalidInput: absolute, empty or too long, or with `..`, an empty part, a backslash or a control character.
    """
    parts = key.split("/")
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise InvalidInput("An object's key must be valid Unicode.", field="key") from None
    if sum(sizes) + len(parts) - 1 > MAX_KEY_BYTES or max(sizes) > MAX_PART_BYTES:
        raise InvalidInput(
            f"An object's key has at most {MAX_KEY_BYTES} bytes, each part {MAX_PART_BYTES}.", field="key"
        )
    plain = all(part not in ("", ".", "..") and not _STAGED.search(part) for part in parts)
    if not plain or any(letter == "\\" or ord(letter) < 32 or ord(letter) == 127 for letter in key):
        raise InvalidInput(
            "An object's key is a relative path without `..`, empty parts, backslashes or control characters.",
            field="key",
        )
    return key


class CustomerStore:
    """One customer's bucket. Use `CustomerStore.open`.

    Attributes:
        bucket: its name.
    """

    def __init__(
        self, bucket: str, store: ObjectStore, folder: Path | None, options: Callable[[], dict[str, str]],
        settings: Settings,
    ) -> None:  # fmt: skip
        self.bucket = bucket
        self._options = options
        self._store = store
        self._folder = folder
        self._settings = settings

    @classmethod
    async def open(cls, settings: Settings, customer_id: str, create: bool = False) -> CustomerStore:
        """The bucket of a customer.

        Raises:
            NotFound: there is none, and `create` is false.
            Unavailable: the object store does not answer, or gives no credentials for the bucket.
        """
        bucket = bucket_name(customer_id)
        if settings.s3_endpoint is None:
            folder = settings.home / "objects" / bucket
            await asyncio.to_thread(_require_folder, folder, create)
            return cls(bucket, _folder_store(folder), folder, dict, settings)
        await asyncio.to_thread(_require_bucket, settings, bucket, create)
        options = s3_options(settings)
        if settings.s3_role is None:
            return cls(bucket, _s3_store(bucket, options), None, options.copy, settings)
        own = BucketCredentials(settings, bucket, options)
        store = _s3_store(bucket, await asyncio.to_thread(own.options), own.for_obstore)
        return cls(bucket, store, None, own.options, settings)

    def storage_options(self) -> dict[str, str]:
        """What LanceDB, Delta Lake and obstore need to open a `path()` now; empty for a folder.

        Raises:
            Unavailable: the credentials end, and there are no new ones.
        """
        return self._options()

    def path(self, *parts: str) -> str:
        """The address of something in the bucket: a folder's path, or `s3://bucket/…`."""
        local = self.local(*parts)
        if local is not None:
            return str(local)
        return "/".join((f"s3://{self.bucket}", *((checked_key("/".join(parts)),) if parts else ())))

    def local(self, *parts: str) -> Path | None:
        """The path of something in the bucket; None on S3.

        Raises:
            InvalidInput: it would lie outside of the bucket, by its name or through a link.
        """
        if self._folder is None:
            return None
        if not parts:
            return self._folder
        path = self._folder / checked_key("/".join(parts))
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise InvalidInput("This key leads out of the customer's bucket through a link.", field="key")
        return path

    async def put(self, key: str, data: bytes | Path) -> None:
        """Writes an object as a whole, from bytes or from a file.

        Raises:
            StorageFull: no room; nothing of the object is there.
        """
        self._check(key)
        import obstore

        with translated():
            await obstore.put_async(self._store, key, data)

    async def get(self, key: str, most: int | None = None) -> bytes:
        """An object's bytes.

        Raises:
            NotFound: no such key.
            TooLarge: it has more than `most`; none of them was taken.
        """
        self._check(key)
        import obstore

        with translated():
            found = await obstore.get_async(self._store, key)
            if most is not None and found.meta["size"] > most:
                raise TooLarge(f"The object has more than {most} bytes.", field="key")
            return bytes(await found.bytes_async())

    async def stream(self, key: str, piece_bytes: int = STREAMED_BYTES) -> AsyncIterator[bytes]:
        """An object's bytes in pieces of this size.

        Each piece is a request of its own: the limit of a request's time is for its whole body, and who reads a large
        object may be slow.

        Raises:
            NotFound: no such key.
            Replaced: it was, while it was read.
        """
        self._check(key)
        import obstore

        with translated():
            told = await obstore.head_async(self._store, key)
        for start in range(0, told["size"], piece_bytes):
            end = min(start + piece_bytes, told["size"])
            with translated(), _unchanged():
                found = await obstore.get_async(
                    self._store, key, options={"range": (start, end), "if_match": told["e_tag"]}
                )
                piece = bytes(await found.bytes_async())
            yield piece

    async def size(self, key: str) -> int:
        """An object's size in bytes.

        Raises:
            NotFound: no such key.
        """
        self._check(key)
        import obstore

        with translated():
            return (await obstore.head_async(self._store, key))["size"]

    async def exists(self, key: str) -> bool:
        """True when there is an object of this key."""
        try:
            await self.size(key)
        except NotFound:
            return False
        return True

    async def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """(key, size in bytes) of every object below a folder-like prefix such as `images/v1`, sorted by key.

        On S3 a key may be one that no other call takes, such as `a//b`; what consoles put there for an empty folder,
        whose key ends in `/`, is none.
        """
        plain = prefix.rstrip("/")
        if plain:
            self._check(plain)
        below = f"{plain}/" if plain else ""
        found = await self._by_obstore(below)
        if self._folder is not None:
            found = await asyncio.to_thread(self._own, found or [])
        elif found is None:
            found = await asyncio.to_thread(self._by_minio, below)
        return sorted(found)

    async def delete(self, key: str) -> None:
        """Deletes an object; that there is none is fine."""
        self._check(key)
        import obstore

        with contextlib.suppress(NotFound), translated():
            await obstore.delete_async(self._store, key)

    async def delete_all(self, prefix: str) -> int:
        """Deletes everything below a prefix such as `scratch`, empty folders too.

        Returns:
            How many objects there were.

        Raises:
            Unavailable: something could not be removed.
        """
        found = await self.list(prefix)
        local = self.local(*prefix.strip("/").split("/"))
        if local is not None:
            await asyncio.to_thread(shutil.rmtree, local, True)
            if local.is_dir():
                raise Unavailable("Not everything could be removed. Check the rights in the object store's folder.")
        else:
            for key, _ in found:
                await self.delete(key)
        return len(found)

    async def remove(self) -> None:
        """Deletes the bucket with everything in it, all versions and delete markers included."""
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, True)
        else:
            await asyncio.to_thread(_remove_bucket, self._settings, self.bucket)

    async def _by_obstore(self, prefix: str) -> list[tuple[str, int]] | None:
        """None where it does not tell: on S3 one key that is not plain ends its list, an empty object may be a folder's
        mark, and the page of a proxy is an empty list, also after whole pages of the store's."""
        import obstore

        found: list[tuple[str, int]] = []
        try:
            with translated():
                async for page in obstore.list(self._store, prefix or None):
                    found += [(entry["path"], entry["size"]) for entry in page]
        except InvalidInput:
            if self._folder is not None:
                raise
            return None
        whole = len(found) % LIST_PAGE != 0
        certain = self._folder is not None or (whole and all(size for _, size in found))
        return found if certain else None

    def _by_minio(self, prefix: str) -> list[tuple[str, int]]:
        """It tells all keys on S3, and takes eight times as long."""
        with translated():
            found = s3_client(self._settings, self._options()).list_objects(self.bucket, prefix, recursive=True)
            try:
                named = [(entry.object_name or "", entry.size or 0) for entry in found]
            except (ValueError, SyntaxError):  # what came is no list, or cut off
                raise Unavailable(NO_ANSWER, retry_after=RETRY_AFTER_S) from None
        return [(key, size) for key, size in named if not key.endswith("/")]

    def _own(self, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Without what a link brings in from outside of the bucket: obstore follows links."""
        assert self._folder is not None  # noqa: S101  asked for folders alone
        root, own = self._folder.resolve(), {}
        for key, _ in found:
            path = self._folder / key
            if path.parent not in own:
                own[path.parent] = path.parent.resolve().is_relative_to(root)
            own[path] = own[path.parent] and (not path.is_symlink() or path.resolve().is_relative_to(root))
        return [(key, size) for key, size in found if own[self._folder / key]]

    def _check(self, key: str) -> None:
        checked_key(key)
        self.local(*key.split("/"))


def s3_options(settings: Settings) -> dict[str, str]:
    """Options under the names that LanceDB, Delta Lake and obstore share. Path-style addresses; create-only by ETag."""
    options = {
        "aws_endpoint": settings.s3_endpoint or "",
        "aws_region": settings.s3_region,
        "aws_allow_http": str((settings.s3_endpoint or "").startswith("http://")).lower(),
        "aws_virtual_hosted_style_request": "false",
        "aws_conditional_put": "etag",
    }
    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        options["aws_access_key_id"] = settings.s3_access_key.get_secret_value()
        options["aws_secret_access_key"] = settings.s3_secret_key.get_secret_value()
    return options


def _folder_store(folder: Path) -> ObjectStore:
    from obstore.store import LocalStore

    return LocalStore(folder)


def _s3_store(
    bucket: str, options: Mapping[str, str], credentials: Callable[[], S3Credential] | None = None
) -> ObjectStore:
    from datetime import timedelta

    from obstore.store import S3Store

    ours = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token") if credentials is not None else ()
    config: Any = {name: value for name, value in options.items() if name not in ours}
    return S3Store(
        bucket,
        config=config,
        credential_provider=credentials,
        client_options={
            "allow_http": config["aws_allow_http"] == "true",
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
    )


def _require_folder(folder: Path, create: bool) -> None:
    if folder.is_dir():
        return
    if not create:
        raise NotFound("This customer has no bucket. Onboard the customer first.", field="customer_id")
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise of_os(error) from None


def _require_bucket(settings: Settings, bucket: str, create: bool) -> None:
    with translated():
        client = s3_client(settings)
        if client.bucket_exists(bucket):
            return
        if not create:
            raise NotFound("This customer has no bucket. Onboard the customer first.", field="customer_id")
        _make_bucket(client, bucket, settings.s3_region)


def _make_bucket(client: Minio, bucket: str, region: str) -> None:
    from minio.error import S3Error

    try:
        client.make_bucket(bucket, location=region)
    except S3Error as error:
        if error.code != "BucketAlreadyOwnedByYou":  # made by another process just now
            raise


def _remove_bucket(settings: Settings, bucket: str) -> None:
    from minio.deleteobjects import DeleteObject

    with translated():
        client = s3_client(settings)
        if not client.bucket_exists(bucket):
            return
        entries = client.list_objects(bucket, recursive=True, include_version=True)
        doomed = (DeleteObject(entry.object_name or "", entry.version_id) for entry in entries)
        if any(True for _ in client.remove_objects(bucket, doomed)):
            raise Conflict("The object store keeps some objects of this bucket, by retention or a lock.")
        client.remove_bucket(bucket)


def s3_client(settings: Settings, options: Mapping[str, str] | None = None) -> Minio:
    """The minio client of the settings: for what obstore does not do (buckets, versions, retention, all keys).

    Args:
        options: with other credentials than the settings', as `CustomerStore.storage_options` has them.
    """
    import urllib3
    from minio import Minio

    parts = urlsplit(settings.s3_endpoint or "")
    held = options or s3_options(settings)
    return Minio(
        parts.netloc,
        access_key=held.get("aws_access_key_id"),
        secret_key=held.get("aws_secret_access_key"),
        session_token=held.get("aws_session_token"),
        secure=parts.scheme == "https",
        region=settings.s3_region,
        http_client=pool(
            settings.s3_endpoint or "",
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=REQUEST_TIMEOUT_S),
            retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
        ),
    )


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    """A condition on an object's version that did not hold, as one to try again."""
    from obstore.exceptions import PreconditionError

    try:
        yield
    except PreconditionError:
        raise Replaced("An object was replaced while it was read. Try again.", retry_after=RETRY_AFTER_S) from None

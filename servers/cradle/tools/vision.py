"""`ocr`: what stands on an image or in a scanned PDF."""

from __future__ import annotations

from collections.abc import Callable

from servers.cradle.metering import Served
from servers.cradle.services import Services
from servers.cradle.vision.resources import contents_of, key_of
from shared.auth import principal
from shared.contracts.vision import (
    ImageBase64,
    JsonSchema,
    ObjectKey,
    Output,
    Pages,
    Provider,
    Resource,
    VisionRequest,
    VisionResult,
    VisionTask,
)
from shared.errors import InvalidInput, NotFound, TooLarge
from shared.metering.units import Units
from shared.objects import CustomerStore
from shared.serving import Server
from shared.values import MAX_IMAGE_BYTES


def register(server: Server, services: Callable[[], Services], served: Served) -> None:
    """Offers `ocr` on the server; what it gives is counted by `served`."""

    async def ocr(
        image_base64: ImageBase64 | None = None,
        resource: Resource | None = None,
        key: ObjectKey | None = None,
        pages: Pages | None = None,
        task: VisionTask = "ocr",
        output: Output = "text",
        provider: Provider | None = None,
        json_schema: JsonSchema | None = None,
    ) -> VisionResult:
        """Read the text of an image or of a PDF's pages. Nothing of it is kept.

        Use it for some pages; whole collections are read by process_documents. An answer holds as many pages as an
        agent takes; next_pages names those left.
        """
        request = VisionRequest(
            image_base64=image_base64, resource=resource, key=key, pages=pages, task=task, output=output,
            provider=provider, json_schema=json_schema,
        )  # fmt: skip
        result = await read(services(), request, whole=False)
        served("ocr", pages_of(result))
        return result

    server.tool(ocr, scope="ocr", title="Read an image", read_only=True, idempotent=True, open_world=True)


async def read(held: Services, request: VisionRequest, *, whole: bool = True) -> VisionResult:
    """Reads what a request holds or names, by the rules of the caller's customer; `whole`: see `VisionService.read`."""
    stored = await _stored(held, request)
    return await held.vision.read(request, local_only=await local_only(held), stored=stored, whole=whole)


def pages_of(result: VisionResult) -> Units:
    """What a call has taken."""
    return Units(calls=1, pages=len(result.pages))


async def _stored(held: Services, request: VisionRequest) -> bytes | None:
    """What a request does not hold in base64 itself: a resource's contents, or an object of the caller's own bucket.

    Raises:
        InvalidInput: the request names more than one image, a resource that is none of these, or the caller has no
            bucket.
        NotFound: there is no such object.
        TooLarge: it is over the bound of an image.
    """
    given = [each for each in (request.image_base64, request.resource, request.key) if each is not None]
    if len(given) > 1:
        raise InvalidInput("Send one of image_base64, resource and key, not several.", field="key")
    if request.resource is not None and (contents := contents_of(request.resource)) is not None:
        return contents
    if not given or request.image_base64 is not None:
        return None
    if (customer := principal().customer) is None:
        if request.resource is not None:
            key_of(request.resource, "")  # an address of the web names no object of anybody
        raise InvalidInput(
            "An object is in a customer's bucket: name the customer in customer_id, or use its token.",
            field="key",
        )
    store = await CustomerStore.open(held.settings, customer)
    key = request.key if request.resource is None else key_of(request.resource, store.bucket)
    assert key is not None  # noqa: S101 - one of the two is given
    try:
        size = await store.size(key)
    except NotFound:
        raise NotFound(
            "The customer's bucket has no object of this key. A key is a path in it, such as inbox/scan.pdf; send what "
            "lies elsewhere in base64.",
            field="key",
        ) from None
    if size > MAX_IMAGE_BYTES:
        raise TooLarge(f"The object is over {MAX_IMAGE_BYTES // 2**20} MB. Name a smaller one.", field="key")
    return await store.get(key)


async def local_only(held: Services) -> bool:
    """A customer's newest parameters decide; a caller without a customer speaks for the platform itself."""
    customer = principal().customer
    if customer is None:
        return False
    try:
        return (await held.installations.get(customer)).parameters.local_only
    except NotFound:
        return True

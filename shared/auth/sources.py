"""Who may name which data sources. A folder of the processing machine may hold any customer's files."""

from __future__ import annotations

from collections.abc import Iterable

from shared.auth.principal import principal
from shared.errors import Forbidden

IN_BUCKET = ("bucket:", "s3://")


def require_sources(data_sources: Iterable[str], services: frozenset[str] = frozenset()) -> None:
    """Let a platform administrator name any source, and everybody else only places in the customer's own bucket.

    What is not plainly such a place counts as a file: a parser further on may read more spellings than this one.

    Args:
        services: services that have asked this about their own caller before they called here.

    Raises:
        Forbidden: the caller names something else and is neither.
    """
    caller = principal()
    if caller.role == "platform_admin" or (caller.role == "service" and caller.subject in services):
        return
    if not all(source.lower().startswith(IN_BUCKET) for source in data_sources):
        raise Forbidden(
            "Only a platform administrator names files and folders of the machine that processes: put the files into "
            "the customer's bucket and name `bucket:prefix`.",
            field="data_sources",
        )

"""What the platform is installed with may be used by everybody for everything, but for what is named here."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

from servers.cradle.images.runtime import distributions

OURS = "platform-0711"
KNOWN = {
    "certifi": "MPL-2.0", "orjson": "MPL-2.0", "tqdm": "MPL-2.0",  # of single files, which are used as they are
    "psycopg": "LGPL-3.0", "psycopg-binary": "LGPL-3.0",  # dbos's driver, used as it is, and in no customer's image
}  # fmt: skip
_BOUND = re.compile(r"\b(?:[AL]?GPL|MPL|EPL|CDDL|EUPL|SSPL|BUSL|Mozilla|GNU|Proprietary|NVIDIA)", re.IGNORECASE)


def licence_of(found: Distribution) -> str:
    told = [found.metadata.get("License-Expression") or (found.metadata.get("License") or "")[:100]]
    classified = [each for each in found.metadata.get_all("Classifier") or [] if each.startswith("License ::")]
    return "; ".join(told + classified)


def installed_with(name: str, extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """All that a package needs on this machine, by name."""
    found: dict[str, Distribution] = {}
    asked, seen = [(name, extras)], set[tuple[str, frozenset[str]]]()
    while asked:
        name, extras = asked.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of a marker that is not true for what was installed
            continue
        for text in found[name].requires or []:
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in extras or {""}]
            if needed.marker is None or any(needed.marker.evaluate(each) for each in environments):
                asked.append((re.sub(r"[-_.]+", "-", needed.name).lower(), frozenset(needed.extras)))
    return found


def test_what_the_platform_is_installed_with_is_permissive_but_for_what_is_named() -> None:
    found = installed_with(OURS)
    assert {"mcp", "torch", "dbos", "lancedb", "psycopg"} <= found.keys()
    bound = {name for name, each in found.items() if _BOUND.search(licence_of(each))}
    bound = {name for name in bound if not name.startswith("nvidia-")}  # CUDA's, which torch's own wheel asks for
    assert bound <= KNOWN.keys(), {name: licence_of(found[name]) for name in bound - KNOWN.keys()}


def test_a_customers_image_has_no_package_under_the_lgpl() -> None:
    licences = {each.name: licence_of(each) for each in distributions()}
    assert "MPL-2.0" in licences["orjson"]
    assert [name for name, licence in licences.items() if "GPL" in licence] == []

"""An instance that fails its gate and does not go back to the version before either: both are said."""

from __future__ import annotations

import pytest

from shared.client import Upstream
from shared.errors import Unavailable
from tests.images.test_deployments import PLANTED, Site, docker, kept, second_image, site  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.engine]


async def test_a_failed_gate_and_a_failed_way_back_are_both_told(site: Site) -> None:  # noqa: F811  the fixture
    await site.deploy()
    (row,) = await site.deployments.serving("acme")
    (name,) = site.containers()

    async def dies(instance: Upstream) -> object:
        docker("kill", name)
        raise Unavailable("The update was not taken.")

    other = site.image.built.model_copy(update={"dataset_digest": "sha256:" + "0" * 64})
    told = r"^The update was not taken\. It did not go back .* deploy_customer starts it again\.$"
    with pytest.raises(Unavailable, match=told):
        await site.deployments.update("acme", row, other, dies, PLANTED)
    assert (await site.deploy()).how == "unchanged"

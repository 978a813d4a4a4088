"""People sign in through a certified OpenID provider that is not ours: npm's `oidc-provider`.

`OPENID_PROVIDER="/path/to/node /path/to/node_modules"` names Node and the folder that the package was installed to.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from servers.marketplace.providers.sign_in import CALLBACK
from servers.marketplace.tools.accounts import WhoAmI
from tests.integration.test_marketplace_sign_in import back_with
from tests.marketplace_rig import running_market
from tests.oidc_rig import LINK, OURS, SECRET, at_consent
from tests.serving_rig import HANGS_S, free_port

COMMAND = shlex.split(os.environ.get("OPENID_PROVIDER", ""))
SERVER = """
import { Provider } from 'MODULES/oidc-provider/lib/index.js';
const { issuer, port, client, more } = JSON.parse(process.argv[2]);
const provider = new Provider(issuer, {
  clients: [{ grant_types: ['authorization_code'], response_types: ['code'], ...client }],
  claims: { email: ['email', 'email_verified'] },
  pkce: { required: () => true },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, email: sub, email_verified: true }) }),
  ...more,
});
provider.listen(port, '127.0.0.1', () => console.log('listening'));
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.requirement("A-01", "A-06"),
    pytest.mark.skipif(not COMMAND, reason="OPENID_PROVIDER does not name Node and npm's oidc-provider"),
]


@asynccontextmanager
async def providing(
    folder: Path, issuer: str, back: str, client: dict[str, Any], more: dict[str, Any]
) -> AsyncIterator[None]:
    """The provider runs."""
    node, modules = COMMAND
    (folder / "server.mjs").write_text(SERVER.replace("MODULES", modules))
    registered = {"client_id": OURS, "client_secret": SECRET, "redirect_uris": [back]} | client
    told = {"issuer": issuer, "port": int(issuer.rpartition(":")[2]), "client": registered, "more": more}
    process = await asyncio.create_subprocess_exec(
        node, str(folder / "server.mjs"), orjson.dumps(told).decode(), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(HANGS_S):
            assert await process.stdout.readline() == b"listening\n"
        yield
    finally:
        process.kill()
        await process.wait()


def elliptic() -> dict[str, Any]:
    """Keys of a provider that signs with ES256."""
    private = generate_private_key(SECP256R1())
    return {
        "jwks": {"keys": [ECAlgorithm.to_jwk(private, as_dict=True) | {"kid": "one", "use": "sig", "alg": "ES256"}]}
    }


@pytest.mark.parametrize(
    ("client", "more"),
    [
        ({}, {}),
        ({}, {"conformIdTokenClaims": False}),
        ({"token_endpoint_auth_method": "client_secret_post"}, {"clientAuthMethods": ["client_secret_post"]}),
        ({"id_token_signed_response_alg": "ES256"}, elliptic()),
    ],
    ids=["address at userinfo", "address in the token", "secret in the form", "ES256"],
)
async def test_a_person_signs_in_and_another_after_them(
    database: Any, tmp_path: Path, client: dict[str, Any], more: dict[str, Any]
) -> None:
    made = await database("servers.marketplace", "shared")
    issuer = f"http://127.0.0.1:{free_port()}"
    told = {"audience": OURS, "domains": ["acme.example"], "name": "Acme & Co", "client_secret": SECRET}
    async with (
        running_market(tmp_path / "home", made.urls, identity_providers={issuer: told}) as market,
        providing(tmp_path, issuer, market.base + CALLBACK, client, more),
    ):
        await market.add_customers()
        ben = await market.add_user("customer_user", "acme", "ben@acme.example")
        browser, client_id = await at_consent(market)
        for name, link in (("anna", LINK), ("ben", "Use another account")):
            await browser.click(link)
            await browser.send(prompt="login", login=f"{name}@acme.example", password="theirs")
            while str(browser.page.url).startswith(issuer):  # it asks to consent, and before that to be left as another
                await browser.send(prompt="consent")
        assert "You have signed in as ben@acme.example." in browser.page.text
        await browser.send(answer="allow")
        token = (await back_with(browser, market, client_id)).json()["access_token"]
        assert (await market.call(token, "whoami", WhoAmI)).subject == ben.user_id

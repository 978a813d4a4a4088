"""An address that can be none is refused where the settings are read, by its setting's name and without its value."""

from __future__ import annotations

import orjson
import pytest

from servers.cradle.images.engine import Engine
from servers.instance.__main__ import graph_server, listens_on, platform_of
from shared.errors import InvalidInput, Unavailable
from shared.settings import Settings, load

GARBAGE = (
    "",
    "garbage",
    "ftp://canary/",
    "canary.example:80",
    " http://canary",
    "http://",
    "http://[canary",
    "http://a b",
)
PORTS = ("http://canary:x", "http://canary:0", "http://canary:65536", "http://canary..de", "http://" + "a" * 64)
HTTP = (
    "orchestrator_url", "marketplace_url", "cradle_url", "s3_endpoint", "sts_endpoint", "openai_base_url",
    "anthropic_base_url", "compatible_vision_url",
)  # fmt: skip
OTHERS = {
    "postgres_url": ("garbage", "mysql://canary/x", "postgresql://[", "postgresql://canary:99999/x", "http://canary"),
    "redis_url": ("garbage", "redis://[", "http://canary", "redis://", "redis://canary:x"),
    "docker_host": ("garbage", "tcp://[", "unix://", "ssh://canary", "tcp://canary:x"),
    "cluster_address": ("garbage", "canary:x", "canary", "http://canary:1", "[:1"),
    "host": ("", "[", "a..b", "http://canary", "canary:80", "a b"),
    "base_image": ("docker://[", "docker://canary/x:latest", "docker://canary/x@sha256:0\n"),
}
GOOD = {
    "marketplace_url": ("https://mcp.example", "http://[::1]:4090", "http://localhost:4090/", "https://bücher.example/a"),
    "s3_endpoint": ("http://minio_1:9000", "https://s3.eu-central-1.example"),
    "postgres_url": (
        "postgresql://u:p%40w@db:5432/x?sslmode=verify-full", "postgres://db/x", "postgresql://a:1,b:2/x",
        "postgresql:///x?host=/run/postgresql", "postgresql://u:p@[::1]:5432/x",
    ),
    "redis_url": ("redis://:pw@redis:6379/0", "rediss://redis.example"),
    "docker_host": ("unix:///run/docker.sock", "tcp://engine:2376", "context:edge", "https://engine.example"),
    "cluster_address": ("10.0.0.1:6379", "head:6379", "[::1]:6379"),
    "host": ("127.0.0.1", "::", "0.0.0.0", "localhost", "node-1.example"),  # noqa: S104
}  # fmt: skip


def test_every_setting_that_holds_an_address_is_looked_at() -> None:
    named = {name for name in Settings.model_fields if name.endswith(("_url", "_endpoint", "_host", "_address"))}
    assert named <= {*HTTP, *OTHERS}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in HTTP for value in (*GARBAGE, *PORTS)),
        *((name, value) for name, values in OTHERS.items() for value in values),
    ],
)
def test_an_address_that_can_be_none_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = f"P0711_{name.upper()}"
    monkeypatch.setenv(setting, value)
    with pytest.raises(InvalidInput) as refused:
        load()
    assert refused.value.message.startswith(f"Setting {setting}: ")
    assert "Value error" not in refused.value.message
    assert "canary" not in refused.value.message


def test_a_further_engine_is_named_and_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for hosts in ({"edge": "garbage"}, {"edge": "tcp://["}, {"No Name": "tcp://edge:2376"}):
        monkeypatch.setenv("P0711_DEPLOYMENT_HOSTS", orjson.dumps(hosts).decode())
        with pytest.raises(InvalidInput, match="P0711_DEPLOYMENT_HOSTS"):
            load()
    monkeypatch.setenv("P0711_DEPLOYMENT_HOSTS", '{"edge": "context:edge", "two": "tcp://two:2376"}')
    assert load().deployment_hosts == {"edge": "context:edge", "two": "tcp://two:2376"}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_an_address_that_can_be_one_is_taken_as_it_is(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"P0711_{name.upper()}", value)
    taken = getattr(load(), name)
    assert getattr(taken, "get_secret_value", lambda: taken)() == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEO4J_URL", "bolt://["), ("NEO4J_URL", "bolt://canary:x"), ("NEO4J_URL", "bolt://"),
        ("NEO4J_URL", "bolt://u:canary@h"), ("INSTANCE_HOST", "["), ("INSTANCE_PORT", "canary"), ("INSTANCE_PORT", "0"),
        ("INSTANCE_PORT", "²"), ("INSTANCE_ISSUER", "http://["), ("INSTANCE_RESOURCE", "canary"),
    ],
)  # fmt: skip
def test_an_instance_names_what_it_cannot_use(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "hidden")
    monkeypatch.setenv("INSTANCE_ISSUER", "https://mcp.example")
    monkeypatch.setenv("INSTANCE_RESOURCE", "http://127.0.0.1:9400/mcp")

    def read() -> None:
        graph_server()
        listens_on()
        platform_of()

    read()
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=name) as refused:
        read()
    assert "canary" not in refused.value.message


def test_an_engine_whose_address_is_none_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for garbage in ("tcp://[", "garbage", "unix://", "tcp://h:x"):
        monkeypatch.setenv("DOCKER_HOST", garbage)
        with pytest.raises(Unavailable, match="P0711_DOCKER_HOST"):
            Engine.connect(None)

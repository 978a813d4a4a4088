"""The embedding port over loopback: the openai package unchanged, text-embeddings-inference's routes, raw vectors,
limits, and callers that hang up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import orjson
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servers.cradle import app, embedding_rest
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.embedding.wire import ranges
from shared import telemetry
from shared.auth import GivenKeys, TokenVerifier
from shared.metering.units import Units
from shared.serving import Server
from shared.settings import Settings
from tests.serving_rig import HANGS_S, Issuer, memory, running

if TYPE_CHECKING:
    import openai

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["Leitungsschutzschalter B16", "Größe 80 × 18 mm, 49,90 €", "断路器 🔌", "A lamp."]
LONG = "Klemme " * 400
ALONE = """
import asyncio, json, sys
from servers.cradle import embedding_rest
from servers.cradle.embedding.service import EmbeddingService
from shared.auth import GivenKeys, TokenVerifier
from shared.serving import Server, serve
from shared.settings import Settings
settings = Settings(home=sys.argv[1])
verifier = TokenVerifier.of(settings, "cradle", GivenKeys(json.loads(sys.argv[2])))
server = Server("cradle", settings, mcp=False, verifier=verifier, max_body_bytes=embedding_rest.MAX_BODY_BYTES)
embedding_rest.register(server, lambda: EmbeddingService(settings), lambda *_: None)
asyncio.run(serve([(server.asgi(), 0)], settings, on_ready=lambda ports: print(*ports, flush=True)))
"""


@dataclass(frozen=True)
class Port:
    """The embedding port on loopback."""

    base: str
    token: str
    token_of: Callable[[str], str]
    served: list[tuple[str, Units]]

    def client(self, customer: str | None = None) -> httpx2.AsyncClient:
        token = self.token_of(customer) if customer else self.token
        return httpx2.AsyncClient(base_url=self.base, headers={"authorization": f"Bearer {token}"}, timeout=HANGS_S)

    def openai(self, **options: Any) -> openai.AsyncOpenAI:
        import openai  # it takes a second to load, of each worker that collects this file

        return openai.AsyncOpenAI(base_url=f"{self.base}/v1", api_key=self.token, **options)

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        async with self.client() as client:
            return await client.post(path, json=body, headers=headers)


@pytest.fixture(scope="session")
async def port(service: EmbeddingService, model_home: Path) -> AsyncIterator[Port]:
    settings, issuer = Settings(home=model_home), Issuer()
    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(issuer.jwks))

    async def health() -> dict[str, Any]:
        return service.health()

    limit = embedding_rest.MAX_BODY_BYTES
    server = Server("cradle", settings, mcp=False, health=health, verifier=verifier, max_body_bytes=limit)
    served = list[tuple[str, Units]]()
    embedding_rest.register(server, lambda: service, lambda tool, units: served.append((tool, units)))
    async with running(server, settings) as base:
        token = partial(issuer.token, settings, scope="embed")
        yield Port(base, token(), lambda customer: token(customer=customer), served)


@pytest.fixture(scope="session")
async def reference(service: EmbeddingService) -> np.ndarray:
    return await service.embed_vectors(TEXTS, "passage", "a")


async def test_the_openai_package_gets_the_vectors_in_base64_as_it_asks_by_itself(
    port: Port, reference: np.ndarray
) -> None:
    async with port.openai() as client:
        found = await client.embeddings.create(model=MODEL, input=TEXTS)
    assert np.array_equal(np.array([each.embedding for each in found.data], np.float32), reference)
    assert [each.index for each in found.data] == [0, 1, 2, 3]
    assert found.usage.total_tokens > 20


async def test_the_openai_package_gets_the_same_vectors_as_numbers(port: Port, reference: np.ndarray) -> None:
    async with port.openai() as client:
        found = await client.embeddings.create(model="all-MiniLM-L6-v2", input=TEXTS, encoding_format="float")
    assert np.array_equal(np.array([each.embedding for each in found.data], np.float32), reference)


@pytest.mark.requirement("L-05")
async def test_each_answer_with_vectors_is_counted_with_its_tokens_and_no_other(port: Port) -> None:
    text, count = TEXTS[0], len(port.served)
    tokens = len((await port.post("/tokenize", {"inputs": text})).json()[0])
    assert (await port.post("/embed", {"texts": [7]})).status_code == 400
    asked = {"texts": [text], "input_type": "passage"}
    seed = await port.post("/embed", asked)
    raw = await port.post("/embed", asked, accept="application/octet-stream")
    given = await port.post("/v1/embeddings", {"model": MODEL, "input": text})
    await port.post("/similarity", {"inputs": {"source_sentence": text, "sentences": [text, text]}})
    once = [Units(calls=1, tokens=tokens, bytes=len(answer.content)) for answer in (seed, raw, given)]
    assert port.served[count:] == [("embed", units) for units in (*once, Units(calls=1, tokens=3 * tokens))]


async def test_fewer_dimensions_are_the_first_ones_at_length_one(port: Port, reference: np.ndarray) -> None:
    async with port.openai() as client:
        found = await client.embeddings.create(model=MODEL, input=TEXTS, dimensions=100)
    short = np.array([each.embedding for each in found.data])
    assert short.shape == (4, 100)
    assert np.abs(np.linalg.norm(short, axis=1) - 1).max() < 1e-6
    assert (short * reference[:, :100]).sum(1) == pytest.approx(np.linalg.norm(reference[:, :100], axis=1), abs=1e-6)


async def test_the_openai_package_raises_its_own_errors(port: Port) -> None:
    import openai

    async with port.openai(max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="one model"):
            await client.embeddings.create(model="text-embedding-3-small", input="x")
        with pytest.raises(openai.BadRequestError, match="384 dimensions") as refused:
            await client.embeddings.create(model=MODEL, input="x", dimensions=385)
        told = refused.value
        assert (told.type, told.param, told.code) == ("invalid_request_error", "dimensions", "invalid_input")
        with pytest.raises(openai.BadRequestError, match="256 tokens"):
            await client.embeddings.create(model=MODEL, input=["x", LONG])
        cut = await client.embeddings.create(model=MODEL, input=["x", LONG], extra_body={"truncate": True})
        assert cut.model_dump()["truncated"] == [1]


async def test_tei_gives_a_bare_list_and_tells_what_it_cut_in_a_header(port: Port, reference: np.ndarray) -> None:
    found = await port.post("/embed", {"inputs": [*TEXTS, LONG], "truncate": True})
    assert np.array_equal(np.array(found.json()[:4], np.float32), reference)
    assert found.headers["x-truncated"] == "4"
    one = await port.post("/embed", {"inputs": TEXTS[0]})
    assert np.array_equal(np.array(one.json(), np.float32), reference[:1])


async def test_the_seeds_form_tells_model_dimension_and_what_was_cut(port: Port) -> None:
    found = (await port.post("/embed", {"texts": ["kurz", LONG], "normalize": True, "truncate": True})).json()
    assert (found["model"], found["dimension"], found["count"], found["truncated"]) == (MODEL, 384, 2, [1])


@pytest.mark.parametrize(("dtype", "kind"), [("", "<f4"), ("; dtype=float32", "<f4"), ("; dtype=float16", "<f2")])
async def test_raw_vectors_come_as_the_accept_header_says(
    port: Port, reference: np.ndarray, dtype: str, kind: str
) -> None:
    found = await port.post("/embed", {"inputs": TEXTS}, accept="application/octet-stream" + dtype)
    shape = (int(found.headers["x-count"]), int(found.headers["x-dimension"]))
    assert found.headers["content-type"] == "application/octet-stream"
    assert np.array_equal(np.frombuffer(found.content, kind).reshape(shape), reference.astype(kind))


@pytest.mark.parametrize("accept", ["text/html", "application/octet-stream; dtype=int8", "*/*;q=0"])
async def test_a_form_that_is_not_offered_is_a_406_that_names_those_that_are(port: Port, accept: str) -> None:
    found = await port.post("/embed", {"inputs": TEXTS}, accept=accept)
    assert (found.status_code, found.json()["code"], found.json()["field"]) == (406, "not_acceptable", "accept")
    assert "dtype=float16" in found.json()["error"]


async def test_similarity_is_the_cosine_with_each_sentence(port: Port, reference: np.ndarray) -> None:
    body = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}}
    assert (await port.post("/similarity", body)).json() == pytest.approx(list(reference[1:] @ reference[0]), abs=1e-6)


async def test_tokenize_gives_ids_and_places_in_bytes(port: Port, service: EmbeddingService) -> None:
    (tokens,) = (await port.post("/tokenize", {"inputs": TEXTS[1]})).json()
    assert [each["id"] for each in tokens] == service.tokenizer.inputs([TEXTS[1]], "passage")[0]
    assert (tokens[0]["special"], tokens[0]["start"]) == (True, None)
    raw = TEXTS[1].encode()
    assert all(raw[each["start"] : each["stop"]].decode() == each["text"] for each in tokens if not each["special"])
    (bare,) = (await port.post("/tokenize", {"inputs": TEXTS[1], "add_special_tokens": False})).json()
    assert bare == tokens[1:-1]


@pytest.mark.requirement("I-02")
async def test_the_tokens_of_too_many_characters_are_refused_before_any_is_read(
    port: Port, service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await port.post("/tokenize", {"inputs": ["x" * 32_768] * 8})).status_code == 200
    found = await port.post("/tokenize", {"inputs": ["x" * 32_768] * 8 + ["x"]})
    assert (found.status_code, found.json()["code"], found.json()["field"]) == (413, "too_large", "inputs")
    monkeypatch.setattr(service._admission, "limit", 10)
    with service._admission.held(("bulk", "flood"), 10, time.monotonic()):
        found = await port.post("/tokenize", {"inputs": "eine Klemme"})
        limited = await port.post("/v1/embeddings", {"model": MODEL, "input": "eine Klemme"})
    assert (found.status_code, found.headers["retry-after"]) == (429, "1")
    assert found.json()["error_type"] == "Overloaded"
    assert (limited.status_code, limited.json()["error"]["type"]) == (429, "rate_limit_error")


async def test_info_health_and_metrics_answer(port: Port) -> None:
    async with port.client() as client:
        told = (await client.get("/info")).json()
        assert (told["model_id"], told["max_input_length"]) == (MODEL, 256)
        assert told["model_type"] == {"embedding": {"pooling": "mean"}}
        assert (await client.get("/health")).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert told.keys() >= TEI_INFO
    assert "embedding_call_seconds_bucket" in metrics
    assert "acme" not in metrics


TEI_INFO = {
    *("model_id", "model_dtype", "model_type", "max_concurrent_requests", "max_input_length", "max_batch_tokens"),
    *("max_client_batch_size", "auto_truncate", "tokenization_workers", "version"),
}
"""What its OpenAPI (1.7) says that `/info` always has: strict clients want all of them."""


async def test_teis_root_embeds_and_what_it_has_beside_is_said_to_be_missing(port: Port, reference: np.ndarray) -> None:
    found = await port.post("/", {"inputs": TEXTS, "truncate": False, "prompt_name": None})
    assert np.array_equal(np.array(found.json(), np.float32), reference)
    for path in ("/rerank", "/predict", "/embed_all", "/embed_sparse", "/decode"):
        found = await port.post(path, {"inputs": TEXTS})
        assert (found.status_code, found.json()["error"] == found.json()["message"]) == (404, True)
        assert "/embed" in found.json()["error"]


BAD: dict[str, tuple[str, Any, str]] = {
    "empty list": ("/embed", {"inputs": []}, "inputs"),
    "empty string": ("/embed", {"texts": [""]}, "texts.0"),
    "not a string": ("/embed", {"texts": [7]}, "texts.0"),
    "null": ("/v1/embeddings", {"model": MODEL, "input": None}, "input"),
    "no dimension": ("/embed", {"inputs": "x", "dimensions": 0}, "dimensions"),
    "half a dimension": ("/embed", {"inputs": "x", "dimensions": 1.5}, "dimensions"),
    "too many dimensions": ("/embed", {"inputs": "x", "dimensions": 385}, "dimensions"),
    "token ids": ("/v1/embeddings", {"model": MODEL, "input": [1, 2]}, "input"),
    "too many texts": ("/embed", {"inputs": ["x"] * 100_000}, "inputs"),
    "unknown field": ("/embed", {"inputs": "x", "normalise": True}, "*"),
    "both forms": ("/embed", {"inputs": "x", "texts": ["x"]}, "texts"),
    "too long": ("/embed", {"texts": ["kurz", LONG]}, "texts.1"),
    "no sentences": ("/similarity", {"inputs": {"source_sentence": "x", "sentences": []}}, "inputs.sentences"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_a_400_that_names_the_field(port: Port, case: str) -> None:
    path, body, field = BAD[case]
    found = await port.post(path, body)
    assert (found.status_code, found.json()["code"]) == (400, "invalid_input")
    assert found.json()["field"].startswith(field), found.json()
    told = found.json()["error"]  # where clients of OpenAI and of text-embeddings-inference look
    assert (told["message"] if path == "/v1/embeddings" else told) == found.json()["message"]
    assert path == "/v1/embeddings" or found.json()["error_type"] == "Validation"


@pytest.mark.requirement("I-03", "I-04")
@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "1e400", "[Infinity]"])
async def test_what_is_not_json_is_refused_and_the_sentence_says_what_is_not(port: Port, value: str) -> None:
    async with port.client() as client:
        found = await client.post("/embed", content=b'{"inputs": ["x"], "dimensions": ' + value.encode() + b"}")
    assert found.status_code == 400
    assert "lone surrogates" in found.json()["message"]


@pytest.fixture(scope="module")
def server_alone(model_home: Path) -> Iterator[tuple[int, int, str]]:
    """The routes in a process of their own, whose memory is theirs: its id, its port, and a token."""
    issuer, settings = Issuer(), Settings(home=model_home)
    words = [sys.executable, "-c", ALONE, str(model_home), orjson.dumps(issuer.jwks).decode()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline()), issuer.token(settings, scope="embed")
        process.terminate()


@pytest.mark.requirement("I-02")
@pytest.mark.parametrize("told", [True, False])
async def test_100_mb_of_text_are_refused_before_parsing_and_hardly_touch_the_memory(
    server_alone: tuple[int, int, str], told: bool
) -> None:
    pid, port, token = server_alone
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = f"content-length: {100 * 2**20}" if told else "transfer-encoding: chunked"
    head = f"POST /embed HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{length}\r\n\r\n"
    part = b"x" * 65_536 if told else b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # noqa: ASYNC240  # the peak begins here
    before = memory("VmRSS", pid)
    answer = asyncio.create_task(reader.readuntil(b"\r\n"))
    writer.write(head.encode() + (b'{"inputs": "' if told else b'c\r\n{"inputs": "\r\n'))
    for _ in range(1600):  # to the end, as clients do that look at an answer only then
        writer.write(part)
        await writer.drain()
    assert b" 413 " in await asyncio.wait_for(answer, HANGS_S)
    writer.close()
    assert memory("VmHWM", pid) - before <= 16 * 2**20


def test_the_embedding_port_of_cradle_has_that_limit(tmp_path: Path) -> None:
    assert app.build(Settings(home=tmp_path))[1]._access.limit == embedding_rest.MAX_BODY_BYTES


@pytest.mark.requirement("I-03")
@pytest.mark.parametrize("value", ["9223372036854775808", "-9223372036854775809", "1e309", "-Infinity", "1" * 400])
@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings", "/tokenize", "/similarity"])
async def test_numbers_that_are_none_are_refused_on_every_route(port: Port, path: str, value: str) -> None:
    async with port.client() as client:
        found = await client.post(path, content=b'{"inputs": "x", "dimensions": ' + value.encode() + b"}")
    assert (found.status_code, found.json()["code"]) == (400, "invalid_input")
    assert value not in found.text


@pytest.mark.requirement("T-05")
async def test_a_text_that_another_customer_has_just_embedded_goes_through_the_device_again(port: Port) -> None:
    async with port.client("acme") as acme, port.client("bolt") as bolt:
        computed = [await device_tokens(acme)]
        for client in (acme, bolt, bolt, acme):
            answer = await client.post("/embed", json={"texts": ["Ein Satz, den A schon geschickt hat."]})
            computed.append(await device_tokens(client))
    rounds = np.diff(computed)
    assert (rounds == answer.json()["tokens"]).all()  # neither cold nor warm is anything skipped


async def device_tokens(client: httpx2.AsyncClient) -> float:
    """Tokens that the device has computed, as the port tells."""
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("embedding_tokens_total"))


async def test_the_memory_of_the_worker_is_measured(port: Port) -> None:
    await port.post("/embed", {"inputs": "x"})
    async with port.client() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    (told,) = (line for line in lines if line.startswith('embedding_device_memory_bytes{worker="0"}'))
    assert 50 * 2**20 < float(told.split()[1]) < 2**32


@pytest.mark.requirement("Z-01")
async def test_spans_tell_of_calls_and_batches_and_hold_no_content(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    canary = "Kanarienvogel"
    await port.post("/embed", {"inputs": [f"{canary} eins", "zwei"]})
    assert (await port.post("/embed", {"texts": [canary, f"{canary} " * 400]})).status_code == 400
    good, bad = (each for each in exporter.get_finished_spans() if each.name == "embedding.call")
    (batch, *_) = (each for each in exporter.get_finished_spans() if each.name == "embedding.batch")
    assert dict(good.attributes or {}) | {"tokens": 0} == {
        "count": 2,
        "priority": "interactive",
        "queue": 0,
        "tokens": 0,
    }
    assert (bad.attributes or {})["code"] == "invalid_input"
    assert (batch.attributes or {})["backend"] == "openvino"
    everything = "".join(each.to_json() for each in exporter.get_finished_spans())
    assert "embedding.call" in everything
    assert not any(word in everything for word in (canary, "acme", port.token))


async def test_a_call_without_a_token_or_scope_is_refused(port: Port) -> None:
    async with httpx2.AsyncClient(base_url=port.base) as client:
        for path in ("/embed", "/v1/embeddings", "/similarity", "/tokenize"):
            refused = await client.post(path, json={})
            assert (refused.status_code, bool(refused.json()["error"])) == (401, True)
        assert (await client.get("/info")).status_code == 401


@pytest.mark.requirement("F-08")
async def test_texts_of_a_caller_that_hangs_up_leave_the_queue(port: Port, service: EmbeddingService) -> None:
    async def until(waiting: int) -> None:
        async with asyncio.timeout(HANGS_S):
            while service.health()["waiting_tokens"] != waiting:  # noqa: ASYNC110  # only the port tells of its callers
                await asyncio.sleep(0)

    assert service._loaded is not None
    (worker,) = service._loaded.engine.workers.values()
    assert worker.pid
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        running = asyncio.create_task(port.post("/embed", {"inputs": "x"}))
        await until(3)
        body = orjson.dumps({"inputs": ["eine Klemme"]})
        (tokens,) = (len(each) for each in service.tokenizer.inputs(["eine Klemme"], "passage"))
        _, writer = await asyncio.open_connection("127.0.0.1", int(port.base.rsplit(":", 1)[1]))
        head = f"POST /embed HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {port.token}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await until(3 + tokens)
        writer.close()
        await until(3)
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    assert (await running).status_code == 200


def test_positions_are_told_as_ranges() -> None:
    assert ranges([]) == ""
    assert ranges([0, 1, 2, 7, 9, 10]) == "0-2,7,9-10"
    assert len(ranges(list(range(0, 2048, 2)))) < 8000

"""What Prometheus sees of embeddings: sizes and times, never a tenant or a text."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

TOKENS = Counter("embedding_tokens", "Tokens computed.", ["priority"])
REFUSED = Counter("embedding_refused", "Calls that ended without vectors, by the error's code.", ["code"])
LOADS = Counter("embedding_model_loads", "Times that a model was loaded, by outcome.", ["outcome"])
for _outcome in ("ready", "replaced", "failed"):  # there from the start: an increase is seen from a number on
    LOADS.labels(_outcome)
WAITING = Gauge("embedding_waiting_tokens", "Tokens that wait for the device.")
MEMORY = Gauge(
    "embedding_device_memory_bytes",
    "Memory of a GPU that its worker has reserved; on a CPU the worker's resident memory.",
    ["worker"],
)
FILL = Histogram("embedding_batch_texts", "Texts in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128))
FILL_TOKENS = Histogram(
    "embedding_batch_fill",
    "Tokens of a batch as a share of its budget.",
    buckets=(0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
WAIT = Histogram(
    "embedding_wait_seconds",
    "Seconds that texts which came at once waited for the device.",
    ["priority"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
COMPUTE = Histogram(
    "embedding_compute_seconds",
    "Seconds that a batch took on the device.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
LATENCY = Histogram(
    "embedding_call_seconds",
    "Seconds from a call to its vectors.",
    ["priority"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

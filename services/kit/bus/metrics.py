"""What the bus counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter(
    "tercet_bus_records_total",
    "Records of committed batches, by what became of them: done, skipped or poison.",
    ("group", "topic", "outcome"),
)
RETRIES = Counter(
    "tercet_bus_retries_total",
    "Attempts that failed and were made again, by the class of the error.",
    ("group", "error"),
)
REDELIVERIES = Counter(
    "tercet_bus_redeliveries_total",
    "Batches whose commit did not happen; their records are delivered again.",
    ("group",),
)
BATCH_SECONDS = Histogram(
    "tercet_bus_batch_seconds",
    "From a batch's delivery to its outcomes, retries included.",
    ("group",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
COMMIT_SECONDS = Histogram(
    "tercet_bus_commit_seconds",
    "Transactions that write outputs and offsets.",
    ("group",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH_RECORDS = Histogram(
    "tercet_bus_batch_records", "Records in a batch.", ("group",), buckets=(1, 2, 4, 8, 16, 32, 64)
)
HALTED = Gauge(
    "tercet_bus_halted",
    "1 when the worker gave up because nearly everything became a dead letter.",
    ("group",),
)
PUBLISHED_BYTES = Counter("tercet_bus_published_bytes_total", "Bytes published, by topic.", ("topic",))
PUBLISH_SECONDS = Histogram(
    "tercet_bus_publish_seconds",
    "Publish calls, waiting for a producer included.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

"""What `/metrics` tells Prometheus. Each app has its own registry."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SIZES = (1, 2, 4, 8, 16)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one app. Labels come from the table of routes, never from what a client sends."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "twinlens_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "twinlens_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._images = Counter(
            "twinlens_images", "Images read for matching.", ("outcome",), registry=self.registry
        )
        self.inflight = Gauge("twinlens_requests_inflight", "Requests under way.", registry=self.registry)

        self.queries = Gauge(
            "twinlens_queries_inflight",
            "Searches that are being decoded, wait for a model, or are embedded.",
            registry=self.registry,
        )
        self._batches = Histogram(
            "twinlens_query_batch_size",
            "Queries that a model answers together.",
            buckets=_SIZES,
            registry=self.registry,
        )
        self._waits = Histogram(
            "twinlens_query_wait_seconds",
            "Time that a decoded query waits for a model.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def batch(self, waits: Sequence[float]) -> None:
        """A model begins with a batch of queries that waited so long, in seconds."""
        self._batches.observe(len(waits))
        for seconds in waits:
            self._waits.observe(seconds)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def image(self, outcome: str) -> None:
        """One image more: "hashed" or "failed"."""
        self._images.labels(outcome).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

"""Lag of the consumer groups as Prometheus metrics, under the names that lag exporters use."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.core.errors import TercetError
from services.kit.bus.ports import Bus, PartitionLag
from services.kit.clock import Clock

log = structlog.get_logger(__name__)


class LagCollector(Collector):
    """Exports `bus.lag()`, asked for at most once in `seconds`. While the bus is away it has no samples."""

    def __init__(self, bus: Bus, clock: Clock, *, seconds: float = 5.0) -> None:
        self._bus = bus
        self._clock = clock
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: tuple[float, Sequence[PartitionLag]] | None = None

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The metrics without samples, so that registering asks the bus for nothing."""
        return _families([])

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The metrics with the lag as it is, or was a few seconds ago."""
        try:
            return _families(self._lag())
        except TercetError as error:
            log.warning("no lag", error=str(error))
            return _families([])

    def _lag(self) -> Sequence[PartitionLag]:
        with self._lock:
            now = self._clock.monotonic()
            if self._known is None or now - self._known[0] >= self._seconds:
                self._known = (now, self._bus.lag())
            return self._known[1]


def _families(lag: Sequence[PartitionLag]) -> list[GaugeMetricFamily]:
    each = ("consumergroup", "topic", "partition")
    records = GaugeMetricFamily(
        "kafka_consumergroup_lag", "Records that the group has not read.", labels=each
    )
    total = GaugeMetricFamily(
        "kafka_consumergroup_lag_sum", "Records of the topic that the group has not read.", labels=each[:2]
    )
    seconds = GaugeMetricFamily(
        "kafka_consumergroup_lag_seconds",
        "Age of the oldest record that the group has not read.",
        labels=each,
    )
    stalled = GaugeMetricFamily(
        "kafka_consumergroup_stalled", "1 when records wait and the group does not move.", labels=each
    )
    members = GaugeMetricFamily(
        "kafka_consumergroup_members", "Live consumers of the group.", labels=each[:1]
    )
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    counts: dict[str, int] = {}
    for entry in lag:
        labels = (entry.group, entry.topic, str(entry.partition))
        records.add_metric(labels, entry.records)
        seconds.add_metric(labels, entry.seconds)
        stalled.add_metric(labels, float(entry.stalled))
        sums[(entry.group, entry.topic)] += entry.records
        counts[entry.group] = entry.members
    for pair, count in sums.items():
        total.add_metric(pair, count)
    for group, count in counts.items():
        members.add_metric((group,), count)
    return [records, total, seconds, stalled, members]

"""A flaw of kafka-python 3.0.12, mended: offsets of partitions whose leader is not known are left out.

`Fetcher._group_list_offset_requests` skips such a partition as long as another one's leader is known, and
nobody asks again: `end_offsets` ends in a KeyError, and `offsets_for_times` says that nothing is to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka.errors import StaleMetadata


def await_leaders(consumer: Any) -> None:
    """Mend a `KafkaConsumer`: it refreshes what it knows of the brokers until every leader is known, or its
    time is over.
    """
    fetcher = consumer._fetcher
    by_leader = fetcher._group_list_offset_requests

    def all_by_leader(timestamps: Mapping[Any, Any]) -> dict[Any, Any]:
        grouped: dict[Any, Any] = by_leader(timestamps)
        if sum(len(asked) for asked in grouped.values()) < len(timestamps):
            raise StaleMetadata
        return grouped

    fetcher._group_list_offset_requests = all_by_leader

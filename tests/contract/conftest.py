"""The buses that the contract is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bus import EmbeddedLog, KafkaLog, Log


@pytest.fixture(params=["embedded", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    opened: Log = (
        EmbeddedLog(tmp_path / "log.sqlite")
        if request.param == "embedded"
        else KafkaLog(request.getfixturevalue("kafka_bootstrap"))
    )
    yield opened
    opened.close()

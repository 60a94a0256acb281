"""Both Python clients, for every test that names a kind, and mining, for every one that names a desk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clients import Kind
from tests.support.mining_desks import Desk


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.bus.close()

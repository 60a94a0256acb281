"""People at work over REST, for every test that names a desk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import gateway_desks


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[gateway_desks.Desk]:
    with gateway_desks.running(tmp_path) as made:
        yield made

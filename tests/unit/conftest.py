"""Both Python clients, for every test that names a kind."""

from __future__ import annotations

import pytest

from tests.support.clients import Kind


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen

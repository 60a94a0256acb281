"""The whole stack, real and private, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.lifecycle import LocalStack, private_stack
from gateway.client import Client
from gateway.client.settings import ClientSettings


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """Kafka, Redis, Triton, one process of each service and the gateway."""
    with private_stack() as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: LocalStack) -> Iterator[Client]:
    """The admin's client: the key is the one that the local gateway made for itself."""
    with Client(settings_for(stack)) as connected:
        yield connected


def settings_for(stack: LocalStack) -> ClientSettings:
    """How a client reaches the stack's gateway."""
    key = Path(stack.environment["TERCET_KEY_FILE"]).read_text("utf-8").split()[0]
    return ClientSettings.model_validate(
        {"TERCET_URL": stack.environment["TERCET_URL"], "TERCET_API_KEY": SecretStr(key)}
    )

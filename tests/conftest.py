"""The real servers for the suites that need them: started once, on free ports, and stopped for sure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.lifecycle import LocalStack, private_stack
from services.kit.bus.kafka_sockets import close_forgotten_sockets

close_forgotten_sockets()  # those of clients that tests make themselves, too


@pytest.fixture(scope="session")
def kafka_stack() -> Iterator[LocalStack]:
    """One Kafka broker; a test may kill and restart it (`kill("kafka")`, `wait_until_ready("kafka")`)."""
    with private_stack(["kafka"]) as stack:
        yield stack


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_stack: LocalStack) -> str:
    return kafka_stack.spec.kafka_bootstrap


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with private_stack(["redis"]) as stack:
        yield stack.environment["TERCET_REDIS_URL"]


@pytest.fixture(scope="session")
def triton_url() -> Iterator[str]:
    """Triton with the four models READY."""
    with private_stack(["triton"]) as stack:
        yield stack.environment["TERCET_TRITON_URL"]


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photographs that TERCET_TEST_PHOTOS names."""
    folder = os.environ.get("TERCET_TEST_PHOTOS")
    if not folder:
        pytest.skip("set TERCET_TEST_PHOTOS to a folder with photographs (dog.jpg, groceries.jpg, truck.jpg)")
    return Path(folder)

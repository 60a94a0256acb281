"""Closing a Kafka client closes its sockets, whatever its tasks wait for."""

from __future__ import annotations

import logging
import socket

import pytest
from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport

from services.kit.bus.kafka_sockets import close_forgotten_sockets


@pytest.fixture(autouse=True)
def mended() -> None:
    close_forgotten_sockets()


def test_a_socket_with_unsent_bytes_is_closed_with_its_client(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        network = NetworkSelector()
        transport = KafkaTCPTransport(network, ours)
        transport.write(bytes(64 * 1024 * 1024))  # more than the kernel takes from a peer that does not read
        network.poll(timeout_ms=0)
        transport.close()
        assert ours.fileno() >= 0
        network.close()
        assert ours.fileno() == -1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_socket_that_still_connects_is_closed_with_its_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.socket()
        ours.setblocking(False)
        network = NetworkSelector()
        network.call_soon(KafkaNetSocket().sock_connect(network, ours, server.getsockname()))
        network._poll_once(0)
        assert ours.fileno() >= 0
        network.close()
        assert ours.fileno() == -1

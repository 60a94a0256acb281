"""A broker that takes connections and says nothing is not ready, and nothing is left of the question."""

from __future__ import annotations

import gc
import socket
import threading

from deploy.local.readiness import KafkaAnswers


def test_a_silent_broker_is_not_ready_and_leaves_no_thread_and_no_socket() -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as server:
        missing = KafkaAnswers(f"127.0.0.1:{server.getsockname()[1]}").missing()
    assert str(missing).startswith("the broker does not answer yet")
    assert set(threading.enumerate()) <= before
    gc.collect()  # a forgotten socket is a warning, and so an error

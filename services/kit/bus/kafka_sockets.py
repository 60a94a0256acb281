"""A flaw of kafka-python 3.0.12, mended: a client that is closed early, or refused, forgets a socket.

`KafkaTCPTransport.close` leaves the socket to the task that still writes to it, and `KafkaNetSocket.connect`
to the task that waits for the connection; closing the client cancels both tasks, and neither closes the
socket when it is cancelled. The garbage collector finds it some time later, with a ResourceWarning.
"""

from __future__ import annotations

import functools
import socket
from typing import Any

from kafka.net.inet import KafkaNetSocket
from kafka.net.transport import KafkaTCPTransport


@functools.cache
def close_forgotten_sockets() -> None:
    """Mend all Kafka clients of this process that have not connected yet; a second call changes nothing."""
    connect, write = KafkaNetSocket.sock_connect, KafkaTCPTransport._write_to_sock

    async def connect_or_close(
        self: Any, net: Any, sock: socket.socket, address: Any, timeout_at: float | None = None
    ) -> socket.socket:
        try:
            connected: socket.socket = await connect(self, net, sock, address, timeout_at=timeout_at)
        except BaseException:  # a cancelled task ends by GeneratorExit
            sock.close()
            raise
        return connected

    async def write_then_close(self: Any) -> None:
        try:
            await write(self)
        finally:
            if self._closed and self._sock is not None:
                self._write_task = None  # this very task, which is ending: nothing is to cancel it
                self._close()

    KafkaNetSocket.sock_connect = connect_or_close
    KafkaTCPTransport._write_to_sock = write_then_close

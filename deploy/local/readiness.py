"""How `up` knows that a process is ready: each probe asks the process what its users will ask it."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Protocol

_TIMEOUT_SECONDS = 3.0


class Refused(str):
    """What a process lacks and does not get by waiting."""


class Probe(Protocol):
    def missing(self) -> str | None:
        """None when the process is ready, else what it still lacks. Returns within seconds, never raises."""


@dataclass(frozen=True)
class KafkaAnswers:
    """The broker lists its topics to a client."""

    bootstrap: str

    def missing(self) -> str | None:
        from kafka.errors import KafkaError

        from services.core.errors import Unavailable
        from services.kit.bus import kafka_clients
        from services.kit.bus.kafka_settings import KafkaSettings

        host, port = self.bootstrap.rsplit(":", 1)
        if (closed := _port_closed(host, int(port))) is not None:
            return closed
        try:
            admin = kafka_clients.admin(self.bootstrap, KafkaSettings(connect_seconds=2, answer_seconds=4))
            try:
                admin.list_topics()
            finally:
                admin.close()
        except (Unavailable, KafkaError, OSError) as error:
            return f"the broker does not answer yet ({type(error).__name__})"
        return None


@dataclass(frozen=True)
class RedisPings:
    """Redis answers PONG."""

    port: int

    def missing(self) -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError as error:
            return f"Redis does not answer yet ({error})"
        return None if answer.startswith(b"+PONG") else f"Redis answered {answer!r}"


@dataclass(frozen=True)
class HttpReady:
    """A GET of this path answers 200."""

    port: int
    path: str

    def missing(self) -> str | None:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{self.path}", timeout=_TIMEOUT_SECONDS
            ) as response:
                return None if response.status == 200 else f"{self.path} answers {response.status}"
        except urllib.error.HTTPError as error:
            return f"{self.path} answers {error.code}: {error.read(300).decode(errors='replace')}"
        except OSError as error:
            return f"{self.path} does not answer yet ({error})"


@dataclass(frozen=True)
class TritonModelsReady:
    """Triton is ready, and so is each of these models."""

    port: int
    models: tuple[str, ...]

    def missing(self) -> str | None:
        if (server := HttpReady(self.port, "/v2/health/ready").missing()) is not None:
            return server
        waiting = [
            model
            for model in self.models
            if HttpReady(self.port, f"/v2/models/{model}/ready").missing() is not None
        ]
        if not waiting:
            return None
        if failed := self._failed():
            return Refused(
                f"models that cannot be loaded (the others serve): {failed}; "
                "put it right, then `python -m deploy.local restart triton`"
            )
        return f"models not ready: {', '.join(waiting)}"

    def _failed(self) -> str:
        """The models that Triton gave up, with its reasons."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v2/repository/index", data=b"{}", method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                index = json.load(response)
        except (OSError, ValueError):
            return ""
        return "; ".join(
            f"{model['name']}: {model.get('reason', '')}"
            for model in index
            if model["name"] in self.models and model.get("state") == "UNAVAILABLE"
        )


@dataclass(frozen=True)
class GrpcHealth:
    """The standard health service says SERVING for the whole server."""

    port: int

    def missing(self) -> str | None:
        import grpc
        from grpc_health.v1 import health_pb2

        if (closed := _port_closed("127.0.0.1", self.port)) is not None:
            return closed
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            try:
                check = channel.unary_unary(
                    "/grpc.health.v1.Health/Check",
                    request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                    response_deserializer=health_pb2.HealthCheckResponse.FromString,
                )
                answer = check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                code = error.code() if isinstance(error, grpc.Call) else error
                return f"health check failed ({code})"
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return None
        return f"health is {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


def _port_closed(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        return f"port {port} does not answer yet ({error})"
    return None

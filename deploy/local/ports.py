"""Which port each part of the stack listens at."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

REPLICA_STRIDE = 100
"""Replica i of a service listens at its first port + REPLICA_STRIDE * i."""

MAX_REPLICAS = 9

_PRIVATE_BASES = range(11_000, 32_000, REPLICA_STRIDE * (MAX_REPLICAS + 1))
"""Where private stacks live: below the ephemeral range, where no outgoing connection takes a port first."""

SERVICES = ("proposer", "segmenter", "verifier", "mining", "dataset")
"""The service processes, in the order of an image's way through them."""


class Ports(BaseModel):
    """The first port of every part. Kafka's node n listens at kafka + 2n, and its controller likewise."""

    model_config = ConfigDict(frozen=True)

    kafka: int = Field(9092, description="Kafka's first broker")
    kafka_controller: int = Field(9093, description="Kafka's first KRaft controller")
    redis: int = Field(6379, description="Redis")
    triton_http: int = Field(8000, description="Triton, HTTP")
    triton_grpc: int = Field(8001, description="Triton, gRPC: what the services call")
    triton_metrics: int = Field(8002, description="Triton's Prometheus metrics")
    gateway: int = Field(8080, description="The gateway's REST and page")
    grpc: int = Field(50051, description="The first service's gRPC; the others follow one by one")
    metrics: int = Field(
        9401, description="The first service's Prometheus metrics; the others follow one by one"
    )

    @classmethod
    def based_at(cls, base: int) -> Ports:
        """Every part inside base..base+99, replicas above them in steps of REPLICA_STRIDE."""
        return cls(
            kafka=base,
            kafka_controller=base + 1,
            redis=base + 10,
            triton_http=base + 20,
            triton_grpc=base + 21,
            triton_metrics=base + 22,
            gateway=base + 30,
            grpc=base + 51,
            metrics=base + 71,
        )

    @classmethod
    def free(cls) -> Ports:
        """A block of ports nobody listens at now, chosen at random: stacks started together rarely meet.

        Raises OSError when no block is free.
        """
        bases = list(_PRIVATE_BASES)
        random.shuffle(bases)
        for base in bases:
            if all(is_free(port) for port in cls.based_at(base).first_ports()):
                return cls.based_at(base)
        raise OSError(f"no free block of ports between {_PRIVATE_BASES.start} and {_PRIVATE_BASES.stop}")

    def service_grpc(self, service: str, replica: int = 0) -> int:
        return self.grpc + SERVICES.index(service) + REPLICA_STRIDE * replica

    def service_metrics(self, service: str, replica: int = 0) -> int:
        return self.metrics + SERVICES.index(service) + REPLICA_STRIDE * replica

    def first_ports(self, kafka_nodes: int = 3) -> Iterator[int]:
        """Every port of a stack with one replica of each service."""
        for node in range(kafka_nodes):
            yield self.kafka + 2 * node
            yield self.kafka_controller + 2 * node
        yield from (self.redis, self.triton_http, self.triton_grpc, self.triton_metrics, self.gateway)
        for service in SERVICES:
            yield self.service_grpc(service)
            yield self.service_metrics(service)


def is_free(port: int) -> bool:
    """Whether a server could listen at this port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

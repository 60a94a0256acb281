"""The one typed description of the stack's processes: supervisord's configuration and `up` follow it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import kafka, triton
from deploy.local.ports import SERVICES
from deploy.local.readiness import GrpcHealth, HttpReady, KafkaAnswers, Probe, RedisPings, TritonModelsReady
from deploy.local.spec import REPOSITORY, StackSpec


@dataclass(frozen=True)
class Process:
    """One supervised process and how to know that it is ready for work."""

    name: str
    part: str
    command: tuple[str, ...]
    port: int
    """Where its users reach it."""
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    further_ports: tuple[int, ...] = ()
    directory: Path = REPOSITORY
    stop_seconds: int = 30
    """Longer than the process's own grace period: after it, SIGKILL."""


def processes(spec: StackSpec) -> list[Process]:
    """Every process of this stack, those that others need first."""
    described: list[Process] = []
    for part in spec.parts:
        if part == "kafka":
            described += [_kafka(spec, node) for node in range(spec.kafka_nodes)]
        elif part == "redis":
            described.append(_redis(spec))
        elif part == "triton":
            described.append(_triton(spec))
        elif part in SERVICES:
            described += [_service(spec, part, replica) for replica in range(spec.replicas_of(part))]
        else:
            described.append(_gateway(spec))
    return described


def _kafka(spec: StackSpec, node: int) -> Process:
    port = spec.ports.kafka + 2 * node
    return Process(
        name=f"kafka-{node}",
        part="kafka",
        command=kafka.broker_command(spec, node),
        port=port,
        probe=KafkaAnswers(f"127.0.0.1:{port}"),
        further_ports=(spec.ports.kafka_controller + 2 * node,),
        # Of several nodes that stop together the last ones wait in vain for a quorum.
        stop_seconds=30 if spec.kafka_nodes == 1 else 8,
    )


def _redis(spec: StackSpec) -> Process:
    folder = spec.state / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {
        "--bind": "127.0.0.1",
        "--port": str(spec.ports.redis),
        "--dir": str(folder),
        # What Redis holds is rebuilt from Kafka; writing it to disk would only cost time.
        "--save": "",
        "--appendonly": "no",
        # Evicting a lease or a counter in silence is worse than refusing a write.
        "--maxmemory": "512mb",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
        # Writing a title would overwrite the environment, in which `down` looks for the stack's mark.
        "--set-proc-title": "no",
    }
    return Process(
        name="redis",
        part="redis",
        command=("redis-server", *(word for pair in arguments.items() for word in pair)),
        port=spec.ports.redis,
        probe=RedisPings(spec.ports.redis),
        stop_seconds=10,
    )


def _triton(spec: StackSpec) -> Process:
    return Process(
        name="triton",
        part="triton",
        command=triton.command(spec),
        port=spec.ports.triton_grpc,
        probe=TritonModelsReady(spec.ports.triton_http, spec.models),
        environment=triton.environment(),
        further_ports=(spec.ports.triton_http, spec.ports.triton_metrics),
    )


def _service(spec: StackSpec, service: str, replica: int) -> Process:
    port = spec.ports.service_grpc(service, replica)
    metrics_port = spec.ports.service_metrics(service, replica)
    return Process(
        name=f"{service}-{replica}",
        part=service,
        command=(sys.executable, "-m", f"services.{service}"),
        port=port,
        probe=GrpcHealth(port),
        environment={
            **_python_environment(spec),
            "TERCET_GRPC_PORT": str(port),
            "TERCET_METRICS_PORT": str(metrics_port),
        },
        further_ports=(metrics_port,),
    )


def _gateway(spec: StackSpec) -> Process:
    return Process(
        name="gateway",
        part="gateway",
        command=(sys.executable, "-m", "gateway"),
        port=spec.ports.gateway,
        probe=HttpReady(spec.ports.gateway, "/readyz"),
        environment={**_python_environment(spec), "TERCET_LOCAL": "true"},
    )


def _python_environment(spec: StackSpec) -> dict[str, str]:
    return {**spec.environment, "PYTHONUNBUFFERED": "1"}

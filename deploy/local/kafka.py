"""Apache Kafka from its jars: fetched by Maven, storage formatted by its own tool (KRaft), run by java."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from deploy.local.spec import HOME, StackSpec
from services.kit.bus.topics import DEFAULT_PARTITIONS, MAX_MESSAGE_BYTES

LIBS = HOME / "kafka" / "libs"
_HERE = Path(__file__).resolve().parent
_POM = _HERE / "pom.xml"
_STAMP = HOME / "kafka" / "pom.sha256"


def fetch() -> bool:
    """Copy the broker's jars into LIBS unless they are there already; True when it had to.

    Raises RuntimeError with Maven's own words when it fails.
    """
    wanted = hashlib.sha256(_POM.read_bytes()).hexdigest()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return False
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError("Maven (mvn) is missing: run `make setup`")
    shutil.rmtree(LIBS, ignore_errors=True)
    command = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={LIBS}", "-DincludeScope=runtime"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"Maven could not fetch Kafka:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    _STAMP.write_text(wanted)
    return True


def java(main: str, *arguments: str, heap: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The command that runs one of Kafka's main classes."""
    return (
        shutil.which("java") or "java",
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        *options,
        f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}",
        "-cp",
        f"{LIBS}/*",
        main,
        *arguments,
    )


def broker_command(spec: StackSpec, node: int) -> tuple[str, ...]:
    return java("kafka.Kafka", str(_properties_path(spec, node)), heap="512m")


def prepare(spec: StackSpec) -> None:
    """Write every node's settings and format the storage of those that have none yet.

    Raises RuntimeError when Kafka refuses to format it.
    """
    for node in range(spec.kafka_nodes):
        folder = spec.state / f"kafka-{node}"
        folder.mkdir(parents=True, exist_ok=True)
        _properties_path(spec, node).write_text(properties(spec, node))
        if (folder / "log" / "meta.properties").exists():
            continue
        command = java(
            "kafka.tools.StorageTool",
            *("format", f"--cluster-id={cluster_id(spec)}", "--config", str(_properties_path(spec, node))),
            heap="128m",
            options=("-XX:TieredStopAtLevel=1",),  # it ends before better compiled code would pay
        )
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"Kafka could not format {folder}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )


def properties(spec: StackSpec, node: int) -> str:
    """server.properties of one node that is broker and controller at once.

    One node keeps single copies; three keep three and need two to agree: the loss of one stops nothing.
    """
    copies, in_sync = (1, 1) if spec.kafka_nodes == 1 else (spec.kafka_nodes, spec.kafka_nodes - 1)
    voters = ",".join(
        f"{other + 1}@127.0.0.1:{spec.ports.kafka_controller + 2 * other}"
        for other in range(spec.kafka_nodes)
    )
    broker = f"PLAINTEXT://127.0.0.1:{spec.ports.kafka + 2 * node}"
    controller = f"CONTROLLER://127.0.0.1:{spec.ports.kafka_controller + 2 * node}"
    values: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node + 1,
        "controller.quorum.voters": voters,
        "listeners": f"{broker},{controller}",
        "advertised.listeners": broker,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": spec.state / f"kafka-{node}" / "log",
        # Topics are made on purpose, with their partitions: a misspelt name must fail.
        "auto.create.topics.enable": "false",
        "num.partitions": DEFAULT_PARTITIONS,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 8,
        # A stack that was down for a week must not begin again at the oldest record: ten years.
        "offsets.retention.minutes": 10 * 365 * 24 * 60,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        # A group of one process need not wait for others to come before its first assignment.
        "group.initial.rebalance.delay.ms": 0,
        "log.segment.bytes": 128 * 1024**2,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 * 1024**2,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _properties_path(spec: StackSpec, node: int) -> Path:
    return spec.state / f"kafka-{node}" / "server.properties"


def cluster_id(spec: StackSpec) -> str:
    """Kafka's own form of a UUID (22 characters of URL-safe base64), the same for every node of a stack."""
    return urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, spec.state.as_uri()).bytes).decode().rstrip("=")

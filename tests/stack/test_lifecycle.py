"""The stack's promises on real processes: up twice, kill -9, down for sure, and what a failure says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, KafkaAdminClient

from deploy.local import kafka
from deploy.local.lifecycle import LocalStack, StackError, private_stack
from deploy.local.ports import Ports, is_free
from deploy.local.processes import marked_processes
from deploy.local.spec import StackSpec
from deploy.local.status import table
from services.kit.bus.topics import ALL_TOPICS, DEFAULT_PARTITIONS, IMAGES_SUBMITTED, MAX_MESSAGE_BYTES
from tests.support.polling import eventually

_MODEL = """
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        outputs = [triton.Tensor("y", triton.get_input_tensor_by_name(r, "x").as_numpy()) for r in requests]
        return [triton.InferenceResponse([output]) for output in outputs]
"""
_MODEL_CONFIG = """
backend: "python"
max_batch_size: 4
input [{ name: "x" data_type: TYPE_STRING dims: [1] }]
output [{ name: "y" data_type: TYPE_STRING dims: [1] }]
"""


@pytest.fixture(scope="module")
def model_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one model that answers what it is asked."""
    root = tmp_path_factory.mktemp("models")
    (root / "identity" / "1").mkdir(parents=True)
    (root / "identity" / "config.pbtxt").write_text(_MODEL_CONFIG)
    (root / "identity" / "1" / "model.py").write_text(_MODEL)
    return root


@pytest.fixture(scope="module")
def stack(model_repository: Path) -> Iterator[LocalStack]:
    with private_stack(
        ["kafka", "redis", "triton"], model_repository=model_repository, models=["identity"]
    ) as running:
        yield running


def _answer(stack: LocalStack, text: bytes) -> bytes:
    """What the identity model answers."""
    import numpy as np
    from tritonclient.grpc import InferenceServerClient, InferInput

    client = InferenceServerClient(stack.environment["TERCET_TRITON_URL"])
    try:
        given = InferInput("x", [1, 1], "BYTES")
        given.set_data_from_numpy(np.array([[text]], dtype=object))
        answer = client.infer("identity", [given]).as_numpy("y")
        assert answer is not None
        return bytes(answer[0, 0])
    finally:
        client.close()


def test_topics_have_their_twins_partitions_and_size_limit(stack: LocalStack) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.spec.kafka_bootstrap)
    try:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(ALL_TOPICS))}
        assert {len(described[name]["partitions"]) for name in ALL_TOPICS} == {DEFAULT_PARTITIONS}
        wanted = [ConfigResource("TOPIC", IMAGES_SUBMITTED)]
        assert f"{MAX_MESSAGE_BYTES}" in str(admin.describe_configs(wanted))
    finally:
        admin.close()


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(stack: LocalStack) -> None:
    producer = KafkaProducer(
        bootstrap_servers=stack.spec.kafka_bootstrap,
        transactional_id="lifecycle",
        max_request_size=MAX_MESSAGE_BYTES,
    )
    large = b"x" * (MAX_MESSAGE_BYTES - 64 * 1024)
    producer.init_transactions()
    producer.begin_transaction()
    sent = producer.send(IMAGES_SUBMITTED, key=b"image", value=large)
    producer.commit_transaction()
    assert sent.get(10).partition in range(DEFAULT_PARTITIONS)
    producer.begin_transaction()
    producer.send(IMAGES_SUBMITTED, key=b"image", value=b"aborted").get(10)
    producer.abort_transaction()
    producer.begin_transaction()
    producer.send(IMAGES_SUBMITTED, key=b"image", value=b"last")
    producer.commit_transaction()
    producer.close(timeout=10)
    consumer = KafkaConsumer(
        IMAGES_SUBMITTED,
        bootstrap_servers=stack.spec.kafka_bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
        consumer_timeout_ms=20_000,
    )
    try:
        assert [len(next(consumer).value) for _ in range(2)] == [len(large), len(b"last")]
    finally:
        consumer.close()


def test_triton_serves_a_python_model(stack: LocalStack) -> None:
    assert _answer(stack, b"hello") == b"hello"


def test_a_second_up_changes_nothing(stack: LocalStack) -> None:
    before = {name: state.pid for name, state in stack.states().items()}
    stack.up()
    assert {name: state.pid for name, state in stack.states().items()} == before


@pytest.mark.parametrize("part", ["redis", "triton"])
def test_a_killed_process_comes_back(stack: LocalStack, part: str) -> None:
    (old,) = stack.kill(part)
    eventually(lambda: stack.pid(part) not in (0, old))
    stack.wait_until_ready(part)
    if part == "triton":
        assert _answer(stack, b"again") == b"again"


def test_a_stopped_part_stays_stopped_until_it_is_started(stack: LocalStack) -> None:
    stack.stop("redis")
    assert stack.pid("redis") == 0
    assert is_free(stack.spec.ports.redis)
    stack.start("redis")
    assert not is_free(stack.spec.ports.redis)


def test_the_table_tells_pid_port_and_memory(stack: LocalStack) -> None:
    rows = {line.split()[0]: line.split() for line in table(stack).splitlines()}
    assert set(rows) == {"PROCESS", "kafka-0", "redis", "triton"}
    kafka = rows["kafka-0"]
    assert kafka[1:5] == ["RUNNING", "yes", str(stack.pid("kafka-0")), str(stack.spec.ports.kafka)]
    assert int(kafka[6]) > 50


def test_an_unknown_name_is_refused_with_the_known_ones(stack: LocalStack) -> None:
    with pytest.raises(StackError, match="kafka-0, redis, triton"):
        stack.kill("zookeeper")
    with pytest.raises(StackError, match="segmenter is not part"):
        stack.scale("segmenter", 2)


def test_a_taken_port_is_named_before_anything_starts(stack: LocalStack, tmp_path: Path) -> None:
    second = LocalStack(StackSpec(state=tmp_path, ports=stack.spec.ports, parts=("redis",)))
    with pytest.raises(StackError, match=f"{stack.spec.ports.redis} \\(redis\\)"):
        second.up()
    assert marked_processes(second.spec) == []


def test_a_process_that_cannot_start_is_reported_with_its_log(model_repository: Path) -> None:
    (model_repository / "broken" / "1").mkdir(parents=True)
    (model_repository / "broken" / "config.pbtxt").write_text(_MODEL_CONFIG)
    (model_repository / "broken" / "1" / "model.py").write_text("raise RuntimeError('weights are missing')\n")
    told = r"(?s)triton: models that cannot be loaded.*broken: .*weights are missing"
    with (
        pytest.raises(StackError, match=told),
        private_stack(["triton"], model_repository=model_repository, models=["broken"]),
    ):
        pass


def test_down_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    with private_stack(["redis"], state=tmp_path) as stack:
        assert len(marked_processes(stack.spec)) == 2
    assert marked_processes(stack.spec) == []
    assert is_free(stack.spec.ports.redis)
    assert stack.log("redis").exists()
    stack.down()


def test_down_finds_what_outlived_its_supervisor(tmp_path: Path) -> None:
    with private_stack(["redis"], state=tmp_path) as stack:
        supervisor = int((tmp_path / "supervisord.pid").read_text())
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: not stack.running())
        assert len(marked_processes(stack.spec)) >= 1
    assert marked_processes(stack.spec) == []
    assert is_free(stack.spec.ports.redis)


def test_a_private_stack_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from deploy.local.lifecycle import private_stack\n"
        "with private_stack(['redis'], state=Path(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        owner.kill()
    spec = StackSpec.load(tmp_path)
    assert spec is not None
    eventually(lambda: marked_processes(spec) == [])
    assert is_free(spec.ports.redis)


def test_the_command_line_brings_a_stack_up_and_down(tmp_path: Path) -> None:
    state = tmp_path / ("a checkout in a folder with a rather long name " * 3)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.local", "--state", str(state), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    try:
        base = str(Ports.free().kafka)
        up = run("up", "--only", "redis", "--ports-base", base)
        assert (up.returncode, up.stderr) == (0, "")
        assert "redis is ready" in up.stdout
        again = run("up", "--only", "redis", "--ports-base", base)
        assert again.returncode == 0
        assert "starting" not in again.stdout
        eventually(lambda: "RUNNING" in run("status").stdout)
        assert (
            f"export TERCET_REDIS_URL=redis://127.0.0.1:{int(base) + 10}/0" in run("env").stdout.splitlines()
        )
        assert "Ready to accept connections" in run("logs", "redis", "-n", "100").stdout
        refused = run("scale", "redis", "2")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
    finally:
        assert run("down").returncode == 0
    assert run("status").returncode == 3


def test_kafka_takes_a_cluster_id_that_looks_like_an_option(tmp_path: Path) -> None:
    """One folder in 64 has one that begins with a dash."""
    specs = (StackSpec(state=tmp_path / str(number)) for number in count())
    spec = next(spec for spec in specs if kafka.cluster_id(spec).startswith("-"))
    kafka.prepare(spec)
    meta = (spec.state / "kafka-0" / "log" / "meta.properties").read_text()
    assert f"cluster.id={kafka.cluster_id(spec)}" in meta.splitlines()


@pytest.mark.slow
def test_three_kafka_nodes_survive_the_loss_of_one() -> None:
    with private_stack(["kafka"], kafka_nodes=3) as stack:
        producer = KafkaProducer(bootstrap_servers=stack.spec.kafka_bootstrap.split(","), acks="all")
        try:
            producer.send(IMAGES_SUBMITTED, key=b"a", value=b"before").get(30)
            stack.stop("kafka-0")
            for partition in range(DEFAULT_PARTITIONS):
                written = producer.send(IMAGES_SUBMITTED, value=b"after", partition=partition).get(60)
                assert written.partition == partition
        finally:
            producer.close(timeout=10)

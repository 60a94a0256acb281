"""What the local stack's description turns into: ports, Kafka settings, supervisord's configuration."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from deploy.local import kafka, processes, triton
from deploy.local.ports import MAX_REPLICAS, SERVICES, Ports, is_free
from deploy.local.spec import PARTS, REPOSITORY, STACK_MARK, StackSpec
from deploy.local.stack import Process
from deploy.local.stack import processes as described_processes
from deploy.local.supervision import configuration
from tests.support.polling import eventually


def _properties(spec: StackSpec, node: int = 0) -> dict[str, str]:
    return dict(line.split("=", 1) for line in kafka.properties(spec, node).splitlines())


def _read_by_supervisord(spec: StackSpec, described: list[Process]) -> ServerOptions:
    """The configuration as supervisord itself understands it."""
    path = spec.state / "supervisord.conf"
    spec.logs.mkdir(parents=True, exist_ok=True)
    path.write_text(configuration(spec, described))
    options = ServerOptions()
    options.realize(["-c", str(path)])
    return options


def _sections(configuration_text: str) -> dict[str, str]:
    """The text of each section by its heading."""
    headed = (section.split("]", 1) for section in configuration_text.split("\n["))
    return {heading.lstrip("["): text.strip() for heading, text in headed}


def test_default_ports_are_the_documented_ones() -> None:
    ports = Ports()
    assert [ports.service_grpc(service) for service in SERVICES] == [50051, 50052, 50053, 50054, 50055]
    assert [ports.service_metrics(service) for service in SERVICES] == [9401, 9402, 9403, 9404, 9405]
    assert ports.service_grpc("segmenter", 2) == 50252


@pytest.mark.parametrize("ports", [Ports(), Ports.based_at(20_000)])
def test_no_two_processes_of_a_stack_share_a_port(ports: Ports) -> None:
    replicas = [
        port(service, replica)
        for port in (ports.service_grpc, ports.service_metrics)
        for service in SERVICES
        for replica in range(1, MAX_REPLICAS)
    ]
    every = [*ports.first_ports(), *replicas]
    assert len(every) == len(set(every))


def test_a_free_block_avoids_a_port_that_is_taken() -> None:
    ports = Ports.free()
    assert all(is_free(port) for port in ports.first_ports())
    with socket.create_server(("127.0.0.1", ports.redis)):
        assert not is_free(ports.redis)
    assert is_free(ports.redis)


def test_one_kafka_node_keeps_single_copies_and_three_survive_a_loss(tmp_path: Path) -> None:
    one = _properties(StackSpec(state=tmp_path))
    three = _properties(StackSpec(state=tmp_path, kafka_nodes=3), node=2)
    copies = ("offsets.topic", "transaction.state.log")
    assert [one[f"{topic}.replication.factor"] for topic in copies] == ["1", "1"]
    assert [three[f"{topic}.replication.factor"] for topic in copies] == ["3", "3"]
    assert (one["transaction.state.log.min.isr"], three["transaction.state.log.min.isr"]) == ("1", "2")
    assert (one["min.insync.replicas"], three["min.insync.replicas"]) == ("1", "2")
    assert three["node.id"] == "3"
    assert "3@127.0.0.1:9097" in three["controller.quorum.voters"].split(",")
    assert three["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9096"


def test_the_nodes_of_a_stack_agree_on_its_cluster_and_two_stacks_do_not(tmp_path: Path) -> None:
    here, there = StackSpec(state=tmp_path / "a"), StackSpec(state=tmp_path / "b")
    assert kafka.cluster_id(here) == kafka.cluster_id(StackSpec(state=tmp_path / "a", kafka_nodes=3))
    assert kafka.cluster_id(here) != kafka.cluster_id(there)
    assert here.identity != there.identity


def test_supervisord_reads_every_process_as_described(tmp_path: Path) -> None:
    spec = StackSpec(state=tmp_path / "with space & 100%", replicas={"segmenter": 2})
    described = described_processes(spec)
    options = _read_by_supervisord(spec, described)
    programs = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert set(programs) == {process.name for process in described}
    assert {"segmenter-0", "segmenter-1", "gateway", "kafka-0", "triton"} <= set(programs)
    for process in described:
        program = programs[process.name]
        assert shlex.split(program.command) == list(process.command)
        assert program.environment == {**process.environment, STACK_MARK: spec.identity}
        assert program.stopasgroup
        assert program.killasgroup
        assert not program.autostart
        assert program.stdout_logfile == str(spec.logs / f"{process.name}.log")


def test_scaling_changes_the_description_of_no_other_process(tmp_path: Path) -> None:
    one, three = StackSpec(state=tmp_path), StackSpec(state=tmp_path, replicas={"verifier": 3})
    before = {process.name: process for process in described_processes(one)}
    after = {process.name: process for process in described_processes(three)}
    assert set(after) - set(before) == {"verifier-1", "verifier-2"}
    assert all(after[name] == process for name, process in before.items())
    sections = [_sections(configuration(spec, described_processes(spec))) for spec in (one, three)]
    assert all(sections[1][name] == text for name, text in sections[0].items())
    assert after["verifier-2"].environment["TERCET_GRPC_PORT"] == "50253"
    assert after["verifier-2"].environment["TERCET_METRICS_PORT"] == "9603"


def test_only_triton_gets_the_library_path(tmp_path: Path) -> None:
    with_path = [
        p.name for p in described_processes(StackSpec(state=tmp_path)) if "LD_LIBRARY_PATH" in p.environment
    ]
    assert with_path == ["triton"]


def test_a_value_that_supervisord_would_misread_is_refused(tmp_path: Path) -> None:
    spec = StackSpec(state=tmp_path, parts=("gateway",), settings={"TERCET_X": 'say "hello"'})
    with pytest.raises(ValueError, match="TERCET_X"):
        configuration(spec, described_processes(spec))


def test_a_long_checkout_path_gets_a_short_socket(tmp_path: Path) -> None:
    short, long = StackSpec(state=Path("/x")), StackSpec(state=tmp_path / ("very-long-name" * 10))
    assert short.control_socket == Path("/x/supervisor.sock")
    assert len(str(long.control_socket)) < 90
    assert long.control_socket != StackSpec(state=tmp_path / ("very-long-name" * 11)).control_socket


def test_a_description_survives_saving(tmp_path: Path) -> None:
    spec = StackSpec(state=tmp_path, ports=Ports.based_at(20_000), parts=("redis", "kafka"), kafka_nodes=3)
    spec.save()
    assert StackSpec.load(tmp_path) == spec
    assert spec.parts == ("kafka", "redis")
    assert StackSpec.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ({"parts": ("kafka", "zookeeper")}, "zookeeper"),
        ({"replicas": {"redis": 2}}, "redis has no replicas"),
        ({"replicas": {"mining": MAX_REPLICAS + 1}}, "mining can have"),
        ({"kafka_nodes": 4}, "kafka_nodes"),
    ],
)
def test_a_stack_that_cannot_be_is_refused_with_the_reason(choice: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        StackSpec.model_validate(choice)


def test_every_part_is_reached_by_the_environment(tmp_path: Path) -> None:
    environment = StackSpec(state=tmp_path, ports=Ports.based_at(20_000), kafka_nodes=3).environment
    assert environment["TERCET_KAFKA_BOOTSTRAP"] == "127.0.0.1:20000,127.0.0.1:20002,127.0.0.1:20004"
    assert environment["TERCET_DATASET_ADDRESS"] == "127.0.0.1:20055"
    assert {f"TERCET_{service.upper()}_ADDRESS" for service in SERVICES} <= set(environment)
    assert {"redis", "triton", "gateway"} <= set(PARTS)


def test_triton_is_told_to_load_exactly_the_chosen_models(tmp_path: Path) -> None:
    command = triton.command(StackSpec(state=tmp_path, models=("sam", "verifier")))
    assert [word for word in command if word.startswith("--load-model")] == [
        "--load-model=sam",
        "--load-model=verifier",
    ]
    assert "--model-control-mode=explicit" in command
    assert Path(command[0]).is_file()


def test_a_marked_process_is_found_with_its_children_and_memory(tmp_path: Path) -> None:
    spec = StackSpec(state=tmp_path)
    assert processes.marked_processes(spec) == []
    with subprocess.Popen(
        ["/bin/sh", "-c", "cat; exit 0"], stdin=subprocess.PIPE, env={**os.environ, STACK_MARK: spec.identity}
    ) as parent:
        eventually(lambda: len(processes.tree(parent.pid)) == 2, timeout=5)
        eventually(
            lambda: sorted(processes.marked_processes(spec)) == sorted(processes.tree(parent.pid)), timeout=5
        )
        assert processes.memory_bytes(parent.pid) > 50_000
        parent.communicate(b"")
    assert processes.marked_processes(spec) == []


def test_protos_are_compiled_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = importlib.util.spec_from_file_location("protos_compile", REPOSITORY / "protos" / "compile.py")
    assert location is not None
    assert location.loader is not None
    compiler = importlib.util.module_from_spec(location)
    location.loader.exec_module(compiler)
    source = tmp_path / "protos" / "tercet" / "v1" / "pairs.proto"
    source.parent.mkdir(parents=True)
    text = 'syntax = "proto3"; package tercet.v1; message Pair { string phrase = 1; }'
    source.write_text(text)
    monkeypatch.setattr(compiler, "ROOT", tmp_path / "protos")
    target = tmp_path / "gen"
    assert compiler.compile_protos(target)
    assert not compiler.compile_protos(target)
    source.write_text(text.replace("phrase = 1;", "phrase = 1; double score = 2;"))
    assert compiler.compile_protos(target)
    names = {path.name for path in (target / "tercet" / "v1").iterdir()}
    assert {"__init__.py", "pairs_pb2.py", "pairs_pb2.pyi", "pairs_pb2_grpc.py"} <= names
    assert (target / "tercet" / "py.typed").exists()
    assert [path.name for path in target.iterdir()] == ["tercet"]
    code = "from tercet.v1.pairs_pb2 import Pair; assert Pair(score=0.5).score == 0.5"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(target)})

"""Server and client of `services.kit.rpc` against each other, over TCP and over unix sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.core import errors
from services.kit import tracing
from services.kit.deadlines import deadline, remaining
from services.kit.rpc.client import connect
from services.kit.rpc.limits import MAX_MESSAGE_BYTES
from services.kit.rpc.server import RpcServer
from services.kit.settings import KitSettings
from tercet.v1 import dataset_pb2, dataset_pb2_grpc, mining_pb2, mining_pb2_grpc
from tests.support.polling import eventually

MINING = "tercet.v1.MiningService"
DATASET = "tercet.v1.DatasetService"
CHECK = health_pb2.HealthCheckRequest


class Mining(mining_pb2_grpc.MiningServiceServicer):
    """Does what the test of the moment asks for."""

    def __init__(self) -> None:
        self.behave: Callable[[], None] = lambda: None
        self.calls = 0

    def QueueStats(
        self, request: mining_pb2.QueueStatsRequest, context: grpc.ServicerContext
    ) -> mining_pb2.QueueStatsResponse:
        self.calls += 1
        self.behave()
        return mining_pb2.QueueStatsResponse()

    def LeaseTask(
        self, request: mining_pb2.LeaseTaskRequest, context: grpc.ServicerContext
    ) -> mining_pb2.LeaseTaskResponse:
        self.calls += 1
        self.behave()
        return mining_pb2.LeaseTaskResponse()


class Dataset(dataset_pb2_grpc.DatasetServiceServicer):
    """Streams two jobs, then does what the test asks for."""

    def __init__(self) -> None:
        self.behave: Callable[[], None] = lambda: None
        self.closed = threading.Event()

    def WatchJob(
        self, request: dataset_pb2.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[dataset_pb2.Job]:
        try:
            yield dataset_pb2.Job(id=request.job_id, images=1)
            yield dataset_pb2.Job(id=request.job_id, images=2)
            self.behave()
        finally:
            self.closed.set()

    def GetJob(self, request: dataset_pb2.GetJobRequest, context: grpc.ServicerContext) -> dataset_pb2.Job:
        return dataset_pb2.Job(id=request.job_id, name="n" * int(request.tenant))


class Stack:
    """A server with both services, and how to reach it."""

    def __init__(self, address: str, settings: KitSettings) -> None:
        self.settings = settings
        self.mining = Mining()  # type: ignore[abstract]
        self.dataset = Dataset()  # type: ignore[abstract]
        self.server = RpcServer(
            address,
            {
                MINING: lambda server: mining_pb2_grpc.add_MiningServiceServicer_to_server(
                    self.mining, server
                ),
                DATASET: lambda server: dataset_pb2_grpc.add_DatasetServiceServicer_to_server(
                    self.dataset, server
                ),
            },
            settings=settings,
        )
        self.server.start()
        self.channel = connect(self.server.address, settings=settings)
        self.mining_stub = mining_pb2_grpc.MiningServiceStub(self.channel)
        self.dataset_stub = dataset_pb2_grpc.DatasetServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()
        self.server.stop(0)


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path}/s.sock"


@pytest.fixture
def stack(address: str) -> Iterator[Stack]:
    running = Stack(address, KitSettings(grpc_threads=4, grpc_queue=2, rpc_timeout=20))
    yield running
    running.close()


def wait(event: threading.Event) -> None:
    event.wait(30)


def collect(stream: Iterator[dataset_pb2.Job], images: list[int]) -> None:
    for job in stream:
        images.append(job.images)


def raising(error: Exception) -> Callable[[], None]:
    def behave() -> None:
        raise error

    return behave


def test_core_errors_cross_the_wire(stack: Stack) -> None:
    for sent in (
        errors.NotFound("no such job"),
        errors.InvalidImage("the image ends too early", code="truncated"),
        errors.Overloaded("busy", retry_after=7.25),
        errors.LeaseLost("the lease ended"),
    ):
        stack.mining.behave = raising(sent)
        with pytest.raises(type(sent)) as caught:
            stack.mining_stub.QueueStats(mining_pb2.QueueStatsRequest(tenant="t"))
        assert type(caught.value) is type(sent)
        assert str(caught.value) == str(sent)
        assert vars(caught.value) == vars(sent)


def test_a_future_gives_its_errors_as_core_errors_too(stack: Stack) -> None:
    stack.mining.behave = raising(errors.Conflict("other body"))
    future = stack.mining_stub.QueueStats.future(mining_pb2.QueueStatsRequest())
    with pytest.raises(errors.Conflict, match="other body"):
        future.result()
    assert isinstance(future.exception(), errors.Conflict)


def test_an_unforeseen_error_is_logged_and_tells_the_client_nothing(
    stack: Stack, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.mining.behave = raising(ZeroDivisionError("secret of the inside"))
    with pytest.raises(errors.Internal) as caught:
        stack.mining_stub.QueueStats(mining_pb2.QueueStatsRequest())
    assert "secret" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    output = capsys.readouterr()
    assert "secret of the inside" in caplog.text + output.out + output.err


def test_streams_give_their_messages_and_then_the_core_error(stack: Stack) -> None:
    stack.dataset.behave = raising(errors.NotFound("the job is gone"))
    seen: list[int] = []
    stream = stack.dataset_stub.WatchJob(dataset_pb2.WatchJobRequest(job_id="j"))
    with pytest.raises(errors.NotFound, match="the job is gone"):
        collect(stream, seen)
    assert seen == [1, 2]


def test_a_stream_whose_client_goes_away_ends_in_the_server(stack: Stack) -> None:
    released = threading.Event()
    stack.dataset.behave = lambda: wait(released)
    stream = stack.dataset_stub.WatchJob(dataset_pb2.WatchJobRequest(job_id="j"))
    assert next(stream).images == 1
    stream.cancel()
    released.set()
    assert stack.dataset.closed.wait(20)


def test_calls_have_a_deadline_by_default_and_never_outlive_their_callers(address: str) -> None:
    running = Stack(address, KitSettings(rpc_timeout=0.3, rpc_attempts=1))
    release = threading.Event()
    left: list[float | None] = []

    def behave() -> None:
        left.append(remaining())
        release.wait(20)

    running.mining.behave = behave
    try:
        with pytest.raises(errors.DeadlineExceeded):
            running.mining_stub.QueueStats(mining_pb2.QueueStatsRequest())
        eventually(lambda: left)
        assert 0 < (left[0] or 0) <= 0.3
        with deadline(0.05), pytest.raises(errors.DeadlineExceeded):
            running.mining_stub.QueueStats(mining_pb2.QueueStatsRequest(), timeout=30)
    finally:
        release.set()
        running.close()


def test_a_call_without_a_deadline_gets_one_in_the_server(stack: Stack) -> None:
    left: list[float | None] = []
    stack.mining.behave = lambda: left.append(remaining())
    with grpc.insecure_channel(stack.server.address) as bare:
        mining_pb2_grpc.MiningServiceStub(bare).QueueStats(mining_pb2.QueueStatsRequest())
    assert 0 < (left[0] or 0) <= stack.settings.rpc_timeout


def test_the_trace_goes_on_in_the_server(stack: Stack) -> None:
    seen: list[str] = []
    stack.mining.behave = lambda: seen.append(tracing.trace_id())
    with tracing.span("caller"):
        mine = tracing.trace_id()
        stack.mining_stub.QueueStats(mining_pb2.QueueStatsRequest())
    assert seen == [mine]


def test_unavailable_is_retried_except_where_twice_is_more(stack: Stack) -> None:
    def fail_once() -> None:
        if stack.mining.calls == 1:
            raise errors.Unavailable("starting")

    stack.mining.behave = fail_once
    stack.mining_stub.QueueStats(mining_pb2.QueueStatsRequest())
    assert stack.mining.calls == 2

    stack.mining.calls = 0
    with pytest.raises(errors.Unavailable, match="starting"):
        stack.mining_stub.LeaseTask(mining_pb2.LeaseTaskRequest())
    assert stack.mining.calls == 1


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    settings = KitSettings(rpc_attempts=2)
    with connect(f"unix:{tmp_path}/nobody.sock", settings=settings) as channel:
        stub = mining_pb2_grpc.MiningServiceStub(channel)
        with pytest.raises(errors.Unavailable):
            stub.QueueStats(mining_pb2.QueueStatsRequest())


def test_a_call_reaches_a_server_that_comes_back(tmp_path: Path) -> None:
    settings = KitSettings()
    address = f"unix:{tmp_path}/s.sock"
    first = Stack(address, settings)
    first.mining_stub.QueueStats(mining_pb2.QueueStatsRequest())
    first.server.stop(0)
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(first.mining_stub.QueueStats, mining_pb2.QueueStatsRequest())
        second = Stack(address, settings)
        assert call.result(20) == mining_pb2.QueueStatsResponse()
    second.close()
    first.channel.close()


def test_health_is_not_serving_until_warm_and_before_the_end(stack: Stack) -> None:
    health: Any = health_pb2_grpc.HealthStub(stack.channel)

    def status(service: str) -> int:
        return int(health.Check(CHECK(service=service)).status)

    serving = health_pb2.HealthCheckResponse.SERVING
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert [status(name) for name in (MINING, DATASET, "")] == [not_serving] * 3
    stack.server.serving(True)
    assert [status(name) for name in (MINING, DATASET, "")] == [serving] * 3
    with pytest.raises(errors.NotFound):
        status("tercet.v1.Nothing")

    watched: list[int] = []
    enough = threading.Event()

    def watch() -> None:
        for answer in health.Watch(CHECK(service=MINING)):
            watched.append(int(answer.status))
            if answer.status == not_serving:
                enough.set()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    eventually(lambda: watched == [serving])
    stopping = threading.Thread(target=stack.server.stop, args=(5,))
    stopping.start()
    assert enough.wait(20), "watchers hear NOT_SERVING before the server is gone"
    stopping.join(20)
    watcher.join(20)
    assert watched == [serving, not_serving]


def test_stop_lets_running_calls_end(stack: Stack) -> None:
    entered, release = threading.Event(), threading.Event()

    def behave() -> None:
        entered.set()
        release.wait(20)

    stack.mining.behave = behave
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(stack.mining_stub.QueueStats, mining_pb2.QueueStatsRequest())
        assert entered.wait(20)
        stopping = threads.submit(stack.server.stop, 15)
        release.set()
        assert call.result(20) == mining_pb2.QueueStatsResponse()
        stopping.result(20)


def test_overload_is_refused_at_once_and_health_still_answers(stack: Stack) -> None:
    release = threading.Event()
    stack.mining.behave = lambda: wait(release)
    request = mining_pb2.QueueStatsRequest()
    full = stack.settings.grpc_threads + stack.settings.grpc_queue
    held = [stack.mining_stub.QueueStats.future(request, timeout=30) for _ in range(full)]
    try:
        eventually(lambda: stack.server._pool.outstanding == full)
        with pytest.raises(errors.Overloaded) as refused:
            stack.mining_stub.QueueStats(request, timeout=20)
        assert refused.value.retry_after > 0
        health: Any = health_pb2_grpc.HealthStub(stack.channel)
        assert health.Check(CHECK(service=""), timeout=5).status
    finally:
        release.set()
    for call in held:
        call.result()
    eventually(lambda: stack.server._pool.outstanding == 0)
    stack.mining_stub.QueueStats(request)


def test_message_limits_agree_on_both_ends(stack: Stack) -> None:
    fits = MAX_MESSAGE_BYTES - 1024
    job = stack.dataset_stub.GetJob(dataset_pb2.GetJobRequest(tenant=str(fits)))
    assert len(job.name) == fits
    with pytest.raises(errors.TooLarge):
        stack.dataset_stub.GetJob(dataset_pb2.GetJobRequest(tenant=str(MAX_MESSAGE_BYTES + 1)))
    with pytest.raises(errors.TooLarge):
        stack.mining_stub.QueueStats(mining_pb2.QueueStatsRequest(tenant="t" * (MAX_MESSAGE_BYTES + 1)))


def test_reflection_lists_our_services(stack: Stack) -> None:
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(stack.channel)
    answers = reflection.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    names = {service.name for service in next(iter(answers)).list_services_response.service}
    assert {MINING, DATASET, "grpc.health.v1.Health"} <= names


def test_a_taken_port_is_refused() -> None:
    settings = KitSettings()
    first = RpcServer("127.0.0.1:0", {}, settings=settings)
    first.start()
    with pytest.raises(errors.Unavailable, match="cannot listen"):
        RpcServer(first.address, {}, settings=settings)
    first.stop(0)

"""Bringing the stack up and down, scaling and killing its parts: for the command line and the tests."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from kafka.errors import KafkaError

from deploy.local import kafka, triton, views
from deploy.local.ports import Ports, is_free
from deploy.local.processes import marked_processes
from deploy.local.readiness import Refused
from deploy.local.spec import INFRASTRUCTURE, PARTS, STACK_MARK, StackSpec
from deploy.local.stack import Process, processes
from deploy.local.supervision import ProcessState, Supervisor, configuration
from deploy.local.topics import create_topics
from services.core.errors import Unavailable

_POLL_SECONDS = 0.2
_MAX_DEATHS_WHILE_STARTING = 2

Say = Callable[[str], None]


class StackError(Exception):
    """The stack cannot do what was asked. The text says why and, where it helps, shows the end of a log."""


def _silent(text: str) -> None:
    """Say nothing: the tests' way."""


class LocalStack:
    """One stack, running or not. The state folder is its identity."""

    def __init__(self, spec: StackSpec, say: Say = _silent) -> None:
        self.spec = spec
        self._say = say
        self._supervisor = Supervisor(spec)
        self._owned: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The TERCET_ settings by which a process reaches this stack."""
        return self.spec.environment

    def up(self, *, deadline_seconds: float = 300, owned: bool = False) -> None:
        """Start what does not run yet and return when every process is ready. Safe to call again.

        `owned` ties the stack to this process: when it ends, however it ends, the stack stops too.
        Raises StackError when a port is taken, a process dies again and again, or the deadline passes.
        """
        deadline = time.monotonic() + deadline_seconds
        with self._locked():
            described = self._prepare()
            self._start_supervisor(owned)
            self._apply()
            infrastructure = [process for process in described if process.part in INFRASTRUCTURE]
            self._start_and_wait(infrastructure, deadline)
            if "kafka" in self.spec.parts:
                try:
                    fresh = bool(create_topics(self.spec, deadline))
                except (Unavailable, KafkaError, TimeoutError) as error:
                    raise StackError(f"the topics could not be created: {error}") from error
                if "redis" in self.spec.parts and views.lost(self.spec):
                    if not fresh:
                        self._rebuild_views(described, deadline)
                    views.note_whole(self.spec)
            self._start_and_wait(
                [process for process in described if process not in infrastructure], deadline
            )

    def down(self, *, deadline_seconds: float = 90) -> None:
        """Stop everything, supervisor and strays included. Safe to call when nothing runs."""
        if not self.spec.state.exists():
            return
        with self._locked():
            if self._supervisor.running():
                self._say("stopping")
                infrastructure = {p.name for p in processes(self.spec) if p.part in INFRASTRUCTURE}
                with suppress(OSError):
                    # Services all at once, while what they drain into still runs; shutdown() goes one by one.
                    for name in self._supervisor.states():
                        if name not in infrastructure:
                            self._supervisor.stop_soon(name)
                    self._supervisor.shutdown()
            self._wait_for_the_end(time.monotonic() + deadline_seconds)
            triton.remove_shared_memory(self.spec)
            self.spec.control_socket.unlink(missing_ok=True)

    def running(self) -> bool:
        return self._supervisor.running()

    def states(self) -> dict[str, ProcessState]:
        """What the supervisor knows of each process, by name."""
        return self._supervisor.states()

    def scale(self, service: str, replicas: int, *, deadline_seconds: float = 60) -> None:
        """Run so many replicas of a service; the other processes are not touched."""
        if service not in self.spec.parts:
            raise StackError(f"{service} is not part of this stack: {', '.join(self.spec.parts)}")
        try:
            wanted = StackSpec.model_validate(
                {**self.spec.model_dump(), "replicas": {**self.spec.replicas, service: replicas}}
            )
        except ValueError as error:
            raise StackError(str(error)) from error
        with self._locked():
            self._require_running()
            before = {process.name for process in processes(self.spec)}
            self.spec = wanted
            described = processes(wanted)
            self._require_free_ports([process for process in described if process.name not in before])
            self._write(described)
            self._apply()
            self._start_and_wait(
                [process for process in described if process.part == service],
                time.monotonic() + deadline_seconds,
            )

    def restart(self, name: str, *, deadline_seconds: float = 120) -> None:
        """Stop a process or all of a part in an orderly way, start it again and wait until it is ready."""
        with self._locked():
            self._require_running()
            chosen = self.select(name)
            for process in chosen:
                self._supervisor.stop(process.name)
            self._start_and_wait(chosen, time.monotonic() + deadline_seconds)

    def stop(self, name: str) -> None:
        """Stop a process or all of a part and leave it stopped."""
        self._require_running()
        for process in self.select(name):
            self._supervisor.stop(process.name)

    def start(self, name: str, *, deadline_seconds: float = 120) -> None:
        """Start a stopped process or part and wait until it is ready."""
        self._require_running()
        self._start_and_wait(self.select(name), time.monotonic() + deadline_seconds)

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> list[int]:
        """Send a signal to the processes themselves, behind the supervisor's back; their process ids."""
        self._require_running()
        states = self._supervisor.states()
        killed = [states[process.name].pid for process in self.select(name) if states[process.name].pid]
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        return killed

    def pid(self, name: str) -> int:
        """The process id of one process by its own name, 0 while it does not run."""
        return self._supervisor.states()[name].pid

    def wait_until_ready(self, name: str, *, deadline_seconds: float = 120) -> None:
        """Wait until a process or all of a part is ready, for instance after a kill."""
        self._start_and_wait(self.select(name), time.monotonic() + deadline_seconds)

    def select(self, name: str) -> list[Process]:
        """The processes of a part (`segmenter`) or the one of that name (`segmenter-1`)."""
        chosen = [process for process in processes(self.spec) if name in (process.name, process.part)]
        if not chosen:
            known = ", ".join(process.name for process in processes(self.spec))
            raise StackError(f"no process is called {name}: {known}")
        return chosen

    def log(self, name: str) -> Path:
        return self.spec.logs / f"{name}.log"

    def _rebuild_views(self, described: Sequence[Process], deadline: float) -> None:
        for process in described:
            if process.part in views.OWNERS:
                self._supervisor.stop(process.name)
        try:
            views.rebuild(described, self._say, max(1.0, deadline - time.monotonic()))
        except RuntimeError as error:
            raise StackError(str(error)) from error

    def _prepare(self) -> list[Process]:
        self.spec.logs.mkdir(parents=True, exist_ok=True)
        (self.spec.state / "blobs").mkdir(exist_ok=True)
        self.spec.control_socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            described = processes(self.spec)
            if not self._supervisor.running():
                self._kill_strays()
                self._require_free_ports(described)
            if "kafka" in self.spec.parts:
                if kafka.fetch():
                    self._say("fetched Apache Kafka by Maven")
                kafka.prepare(self.spec)
            if "triton" in self.spec.parts:
                triton.prepare()
        except (RuntimeError, OSError) as error:
            raise StackError(str(error)) from error
        self._write(described)
        return described

    def _write(self, described: Sequence[Process]) -> None:
        self.spec.save()
        (self.spec.state / "supervisord.conf").write_text(configuration(self.spec, described))

    def _start_supervisor(self, owned: bool) -> None:
        if self._supervisor.running():
            return
        triton.remove_shared_memory(self.spec)
        command = [
            sys.executable,
            "-m",
            "supervisor.supervisord",
            "-c",
            str(self.spec.state / "supervisord.conf"),
        ]
        output = self.spec.logs / "supervisord.out"
        with output.open("wb") as stream:
            self._owned = subprocess.Popen(
                [*command, "--nodaemon"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, STACK_MARK: self.spec.identity},
                # A session of its own: Ctrl-C in the terminal must not reach the stack behind our back.
                start_new_session=True,
                preexec_fn=_end_with_parent if owned else None,
            )
        deadline = time.monotonic() + 15
        while not self._supervisor.running():
            if self._owned.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"supervisord did not start:\n{_tail(output)}")
            time.sleep(_POLL_SECONDS)

    def _apply(self) -> None:
        """Make supervisord know exactly what its configuration says; what changed in it is stopped first."""
        added, changed, removed = self._supervisor.reload()
        for name in (*removed, *changed):
            self._supervisor.remove(name)
        for name in (*added, *changed):
            self._supervisor.add(name)

    def _start_and_wait(self, chosen: Sequence[Process], deadline: float) -> None:
        if not chosen:
            return
        running = {name for name, state in self._supervisor.states().items() if state.pid}
        for process in chosen:
            if process.name not in running:
                self._say(f"starting {process.name} at port {process.port}")
            self._supervisor.start(process.name)
        pids: dict[str, set[int]] = {process.name: set() for process in chosen}
        waiting = list(chosen)
        with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
            while waiting:
                missing = list(pool.map(lambda process: process.probe.missing(), waiting))
                states = self._supervisor.states()
                for process in waiting:
                    state = states[process.name]
                    pids[process.name].add(state.pid)
                    deaths = len(pids[process.name] - {0}) - 1
                    if state.state == "FATAL" or deaths > _MAX_DEATHS_WHILE_STARTING:
                        raise StackError(
                            f"{process.name} does not stay up. {state.reason}\n{self._excerpt(process)}"
                        )
                for process, why in zip(waiting, missing, strict=True):
                    if isinstance(why, Refused):
                        raise StackError(f"{process.name}: {why}\n{self._excerpt(process)}")
                if time.monotonic() > deadline:
                    late = [
                        f"{process.name}: {why}" for process, why in zip(waiting, missing, strict=True) if why
                    ]
                    raise StackError("\n".join([*late, self._excerpt(waiting[0])]))
                # A port may be answered by someone else while ours is dead: only a running process is ready.
                still = [
                    process
                    for process, why in zip(waiting, missing, strict=True)
                    if why is not None or not states[process.name].pid
                ]
                for process in waiting:
                    if process not in still:
                        self._say(f"{process.name} is ready")
                waiting = still
                if waiting:
                    time.sleep(_POLL_SECONDS)

    def _excerpt(self, process: Process) -> str:
        return f"the end of {self.log(process.name)}:\n{_tail(self.log(process.name))}"

    def _require_running(self) -> None:
        if not self._supervisor.running():
            raise StackError("the stack is not running: make up")

    def _require_free_ports(self, described: Sequence[Process]) -> None:
        taken = [
            f"{port} ({process.name})"
            for process in described
            for port in (process.port, *process.further_ports)
            if not is_free(port)
        ]
        if taken:
            raise StackError(
                f"something else listens at port {', '.join(taken)}: stop it, or choose other ports "
                "with --ports-base (TERCET_STACK_PORTS_BASE)"
            )

    def _wait_for_the_end(self, deadline: float) -> None:
        """Until the supervisor and all of its children are gone; what is left at the deadline is killed."""
        while marked_processes(self.spec):
            # The supervisor waits for its children: what outlives it is not going to stop by itself.
            if time.monotonic() > deadline or not self._supervisor.running():
                self._kill_strays()
                break
            time.sleep(_POLL_SECONDS)
        if self._owned is not None:
            self._owned.wait(timeout=10)

    def _kill_strays(self) -> None:
        """Kill what this stack's processes left behind, for instance after a kill -9 of their supervisor."""
        for _ in range(50):
            strays = marked_processes(self.spec)
            if not strays:
                return
            for pid in strays:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        raise StackError(f"these processes cannot be ended: {strays}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one command at a time changes a stack."""
        self.spec.state.mkdir(parents=True, exist_ok=True)
        with (self.spec.state / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


@contextmanager
def private_stack(
    only: Sequence[str] = PARTS,
    *,
    state: Path | None = None,
    deadline_seconds: float = 300,
    **choices: object,
) -> Iterator[LocalStack]:
    """A stack on free ports and in a temporary folder; processes and files are gone when the block ends.

    `choices` are further fields of StackSpec: kafka_nodes, replicas, model_repository, models, settings.
    It also goes when this process is killed. Call it from the main thread: the tie is to the calling thread.
    """
    folder = state or Path(tempfile.mkdtemp(prefix="tercet-stack-"))
    spec = StackSpec.model_validate({"state": folder, "ports": Ports.free(), "parts": tuple(only), **choices})
    stack = LocalStack(spec)
    try:
        stack.up(deadline_seconds=deadline_seconds, owned=True)
        yield stack
    finally:
        stack.down()
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)


def _tail(path: Path, lines: int = 40) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def _end_with_parent() -> None:
    """Between fork and exec: ask Linux for SIGTERM, to which supervisord shuts down, when the parent ends."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)

"""Processor time, memory and start-up of the stack's processes, as Linux tells."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.lifecycle import LocalStack, StackError
from deploy.local.processes import tree
from deploy.local.stack import processes

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL_SECONDS = 0.02
BENCH = "this benchmark"
OTHERS = "others on the machine"
IDLE = "idle"
NOT_THE_STACK = (BENCH, OTHERS, IDLE)


@dataclass(frozen=True)
class Memory:
    """Resident memory in bytes; of a process with children, all of them together."""

    now: int
    peak: int


@dataclass(frozen=True)
class Start:
    """How a process started: seconds until it was ready, and its processor seconds by then."""

    seconds: float
    processor: float


@dataclass(frozen=True)
class Busy:
    """Processor seconds so far: of each process of the stack and of this one, and of the whole machine."""

    at: float
    by_process: Mapping[str, float]
    machine: float


def cores() -> int:
    """Processors that this machine gives us."""
    return len(os.sched_getaffinity(0))


def names(stack: LocalStack) -> list[str]:
    """The stack's processes."""
    return [process.name for process in processes(stack.spec)]


def busy(stack: LocalStack) -> Busy:
    """Processor seconds so far."""
    states = stack.states()
    by_process = {name: sum(map(_cpu_seconds, tree(states[name].pid))) for name in names(stack)}
    times = os.times()
    by_process[BENCH] = times.user + times.system
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return Busy(time.monotonic(), by_process, (sum(fields) - idle) / _TICKS)


def shares(before: Busy, after: Busy) -> dict[str, float]:
    """Share of the machine's processors' time between two looks, by process; with others and idle: 1."""
    capacity = (after.at - before.at) * cores()
    ours = {
        name: (seconds - before.by_process[name]) / capacity for name, seconds in after.by_process.items()
    }
    used = (after.machine - before.machine) / capacity
    known = sum(ours.values())
    # The kernel counts in ticks of 10 ms, and the two counts are not of the very same moment.
    others = max(0.0, used - known)
    return {**ours, OTHERS: others, IDLE: max(0.0, 1 - known - others)}


def memory(stack: LocalStack) -> dict[str, Memory]:
    """Resident memory of each process (VmRSS) and its peak (VmHWM)."""
    states = stack.states()
    found = {}
    for name in names(stack):
        members = [_status(pid) for pid in tree(states[name].pid)]
        found[name] = Memory(
            sum(member.get("VmRSS", 0) for member in members),
            sum(member.get("VmHWM", 0) for member in members),
        )
    return found


def restarted(stack: LocalStack, name: str, *, limit: float = 180) -> Start:
    """Stop the process, start it, and wait until it is ready (gRPC health says SERVING).

    Raises `StackError` when it is not within the limit.
    """
    (process,) = stack.select(name)
    stack.stop(name)
    failed: list[StackError] = []

    def start() -> None:
        try:
            stack.start(name, deadline_seconds=limit)
        except StackError as error:
            failed.append(error)

    starting = threading.Thread(target=start)
    began = time.monotonic()
    starting.start()
    pause = threading.Event()
    while process.probe.missing() is not None and not failed:
        pause.wait(_POLL_SECONDS)
    seconds = time.monotonic() - began
    used = 0.0 if failed else sum(map(_cpu_seconds, tree(stack.pid(name))))
    starting.join()
    if failed:
        raise failed[0]
    return Start(seconds, used)


def processor() -> str:
    """The processor's own name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:  # a short-lived child, gone meanwhile
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int) -> dict[str, int]:
    """The sizes in /proc/<pid>/status, in bytes."""
    found = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[name] = int(value.split()[0]) * 1024
    return found

"""The table that `status` prints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from deploy.local.lifecycle import LocalStack
from deploy.local.processes import memory_bytes
from deploy.local.stack import processes

_HEADINGS = ("PROCESS", "STATE", "READY", "PID", "PORT", "UPTIME", "MEMORY")


def table(stack: LocalStack) -> str:
    """One line a process: supervisord's state, ready or not, pid, port, uptime, memory with its children."""
    states = stack.states() if stack.running() else {}
    described = processes(stack.spec)
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda process: process.probe.missing(), described)
        missing = {process.name: why for process, why in zip(described, answers, strict=True)}
    rows = [_HEADINGS]
    for process in described:
        state = states.get(process.name)
        port = str(process.port)
        if state is None or not state.pid:
            rows.append((process.name, state.state if state else "DOWN", "no", "-", port, "-", "-"))
            continue
        ready = "no" if missing[process.name] else "yes"
        memory = f"{memory_bytes(state.pid) / 2**20:.0f} MiB"
        uptime = _duration(state.now - state.started)
        rows.append((process.name, state.state, ready, str(state.pid), port, uptime, memory))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if states:
        lines += [f"{name}: {why}" for name, why in missing.items() if why]
    return "\n".join(lines)


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"

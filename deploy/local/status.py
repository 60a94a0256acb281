"""The table that `status` prints."""

from __future__ import annotations

from deploy.local.lifecycle import LocalStack
from deploy.local.processes import memory_bytes
from deploy.local.stack import processes

_HEADINGS = ("PROCESS", "STATE", "PID", "PORT", "UPTIME", "MEMORY")


def table(stack: LocalStack) -> str:
    """One line a process: name, supervisord's state, pid, port, uptime and memory of it and its children."""
    states = stack.states() if stack.running() else {}
    rows = [_HEADINGS]
    for process in processes(stack.spec):
        state = states.get(process.name)
        if state is None or not state.pid:
            rows.append((process.name, state.state if state else "DOWN", "-", str(process.port), "-", "-"))
            continue
        memory = f"{memory_bytes(state.pid) / 2**20:.0f} MiB"
        uptime = _duration(state.now - state.started)
        rows.append((process.name, state.state, str(state.pid), str(process.port), uptime, memory))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"

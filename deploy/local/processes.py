"""Looking at this machine's processes through /proc."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.local.spec import STACK_MARK, StackSpec


def marked_processes(spec: StackSpec) -> list[int]:
    """The processes that carry this stack's mark: those that were started for it, and their children."""
    mark = f"{STACK_MARK}={spec.identity}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0") and not _is_zombie(folder):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile, or it is another user's
            continue
    return found


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int(_stat_fields(folder)[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += children.get(current, [])
    return found


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants, in bytes; a page that several of them map counts once."""
    return sum(_proportional_set_size(member) for member in tree(pid))


def _proportional_set_size(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _is_zombie(folder: Path) -> bool:
    return _stat_fields(folder)[0] == "Z"


def _stat_fields(folder: Path) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name, which may itself hold spaces and brackets."""
    return (folder / "stat").read_text().rsplit(")", 1)[1].split()

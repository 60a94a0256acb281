"""`python -m tests.bench sam`: everything-mode of what serves against `SamAutomaticMaskGenerator`.

Every way runs in a process of its own, one after the other, round after round, so that what else the machine
does meets all of them alike. The reference runs with the allocator as it is and with one that keeps freed
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from deploy.local.spec import HOME
from tests.bench import machine

TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
LIMIT_SECONDS = 1800
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Way:
    """A way of computing, by the arguments and the environment of its process."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


DEFAULT = Way("reference, default allocator", ("reference",), {})
REFERENCE = Way("reference, tuned allocator", ("reference",), TUNED)
EXACT = Way("float32", ("torch",), TUNED)
BEST = Way("best precision", ("torch", "--precision", "auto"), TUNED)
OPENVINO = Way("best precision, OpenVINO", ("openvino", "--precision", "auto"), TUNED)
"""The serving process keeps its memory by `allocation.keep_freed_memory`; here the environment does it."""


WAYS = (DEFAULT, REFERENCE, EXACT, BEST, OPENVINO)


def measure(way: Way, network: str, per_side: int, repeat: int) -> Figures:
    """The figures of one process."""
    command = [sys.executable, "-m", "tests.bench.sam_worker", *way.arguments, "--network", network]
    command += ["--per-side", str(per_side), "--repeat", str(repeat), "--threads", str(machine.cores())]
    if network != "vit_tiny":
        command.append("--substitute")
    ended = subprocess.run(
        command,
        env={**os.environ, **way.environment},
        stdout=subprocess.PIPE,
        check=True,
        timeout=LIMIT_SECONDS,
    )
    figures: Figures = json.loads(ended.stdout)
    return figures


def same_records(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """How many records have run lengths that the reference has, too, area, stability and predicted IoU (to
    1e-5) included.
    """
    known = {counts: figures for counts, *figures in theirs}
    return sum(
        counts in known and all(abs(a - b) <= 1e-5 for a, b in zip(figures, known[counts], strict=True))
        for counts, *figures in ours
    )


def table(network: str, per_side: int, rounds: Sequence[Mapping[str, Figures]]) -> Table:
    """Medians of the rounds; a ratio is the median of the rounds' own ratios."""
    substituted = "" if network == "vit_tiny" else "; random weights, the decoder's output substituted"
    drawn = Table(
        title=f"{network}, everything-mode with {per_side} x {per_side} points{substituted}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    for heading in (
        "way",
        "encoder, s",
        "64 prompts, s",
        "a mask after, ms",
        "NMS, ms",
        "everything, s",
        "processor, s",
        "to default",
        "to tuned",
        "same records",
    ):
        drawn.add_column(heading, justify="left" if heading == "way" else "right")
    for way in rounds[0]:
        figures = [each[way] for each in rounds]

        def middle(name: str, scale: float = 1, figures: Sequence[Figures] = figures) -> float:
            return scale * float(median(each[name] for each in figures))

        drawn.add_row(
            way,
            f"{middle('encode'):.3f}",
            f"{middle('decode_64'):.3f}",
            f"{middle('post_mask', 1000):.3f}",
            f"{middle('suppress', 1000):.2f}",
            f"{middle('everything'):.2f}",
            f"{middle('processor'):.2f}",
            *(f"{ratio(rounds, reference.name, way):.1f}x" for reference in (DEFAULT, REFERENCE)),
            f"{same_records(figures[0]['records'], rounds[0][REFERENCE.name]['records'])}"
            f" of {len(rounds[0][REFERENCE.name]['records'])}",
        )
    return drawn


def ratio(rounds: Sequence[Mapping[str, Figures]], reference: str, way: str) -> float:
    """How many times sooner a way is done."""
    return float(median(each[reference]["everything"] / each[way]["everything"] for each in rounds))


def main(arguments: Sequence[str]) -> int:
    """The exit code of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench sam", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=["vit_tiny", "vit_b"], default=["vit_tiny", "vit_b"])
    parser.add_argument("--per-side", type=int, default=8, help="points a side of the grid of vit_b (8)")
    parser.add_argument("--per-side-tiny", type=int, default=16, help="the same of vit_tiny (16)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each way (2)")
    parser.add_argument("--out", type=Path, default=HOME / "bench", help="folder of sam.json")
    given = parser.parse_args(arguments)
    console = Console(width=max(Console().width, 150))
    written: dict[str, Any] = {"processor": machine.processor(), "cores": machine.cores(), "networks": {}}
    for network in given.networks:
        tiny = network == "vit_tiny"
        per_side = given.per_side_tiny if tiny else given.per_side
        rounds = []
        for number in range(given.rounds):
            found = {}
            for way in WAYS:
                found[way.name] = measure(way, network, per_side, repeat=3 if tiny else 1)
                seconds = found[way.name]["everything"]
                console.print(f"{network}, round {number + 1}, {way.name}: {seconds:.2f} s", style="dim")
            rounds.append(found)
        console.print(table(network, per_side, rounds))
        figures = [
            {name: {**each, "records": len(each["records"])} for name, each in found.items()}
            for found in rounds
        ]
        written["networks"][network] = {"per_side": per_side, "rounds": figures}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "sam.json").write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    console.print(f"written: {given.out / 'sam.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A job's progress on stderr: a bar for each step on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.schemas import ImageState, Job

STEPS = ("proposed", "segmented", "verified", "done")
LINE_EVERY = 2.0
"""Seconds between lines where no terminal shows bars."""

# An image in a later state has been through the steps before it.
_ORDER: tuple[ImageState, ...] = ("submitted", "proposed", "segmented", "verified", "in_review", "complete")


def reached(counts: Mapping[ImageState, int]) -> dict[str, int]:
    """Images that each of `STEPS` is behind; `done`: the models are through with them, failed or not."""
    behind: dict[str, int] = {
        state: sum(counts.get(later, 0) for later in _ORDER[position:])
        for position, state in enumerate(_ORDER)
        if state in STEPS
    }
    ended: tuple[ImageState, ...] = ("in_review", "complete", "failed", "cancelled")
    return {**behind, "done": sum(counts.get(state, 0) for state in ended)}


def totals(images: int, counts: Mapping[ImageState, int]) -> dict[str, int]:
    """What each of `STEPS` can reach: images that failed or were cancelled only end, they do not pass."""
    out = counts.get("failed", 0) + counts.get("cancelled", 0)
    return {step: images if step == "done" else images - out for step in STEPS}


@dataclass
class StepTimes:
    """When each step was first seen complete."""

    now: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    ended: dict[str, float] = field(default_factory=dict)
    """Seconds from the start, by step."""

    def __post_init__(self) -> None:
        self.started = self.now()

    def see(self, job: Job) -> None:
        """Takes note of a job's sight."""
        most = totals(job.images, job.counts)
        for step, images in reached(job.counts).items():
            if images >= most[step] and step not in self.ended:
                self.ended[step] = self.now() - self.started


def follow(sights: Iterable[Job], console: Console, times: StepTimes | None = None) -> Job:
    """Shows the sights as they come; the last one. Failures are told once each, as they are seen."""
    show = _Bars(console) if console.is_terminal else _Lines(console)
    told: set[str] = set()
    job: Job | None = None
    with show:
        for job in sights:
            if times is not None:
                times.see(job)
            for failure in job.failures:
                if failure.image_id not in told:
                    told.add(failure.image_id)
                    show.remark(f"failed: {failure.name or failure.image_id}: {failure.reason}")
            show.update(job)
    if job is None:
        raise ValueError("nothing was seen of the job")
    return job


class _Bars:
    """Live bars."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[remark]}"),
            console=console,
        )
        self._tasks = {step: self._progress.add_task(step, total=None, remark="") for step in STEPS}

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, job: Job) -> None:
        most = totals(job.images, job.counts)
        for step, images in reached(job.counts).items():
            remark = pace(job) if step == "done" and job.status == "running" else ""
            self._progress.update(self._tasks[step], completed=images, total=most[step], remark=remark)

    def remark(self, text: str) -> None:
        self._progress.console.print(text, style="red", markup=False)


class _Lines:
    """Lines for logs."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._now = console, now
        self._last = float("-inf")

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, job: Job) -> None:
        if job.status == "running" and self._now() - self._last < LINE_EVERY:
            return
        self._last = self._now()
        most = totals(job.images, job.counts)
        steps = ", ".join(f"{step} {images}/{most[step]}" for step, images in reached(job.counts).items())
        self._console.print(f"{job.id}: {steps}", markup=False)

    def remark(self, text: str) -> None:
        self._console.print(text, markup=False)


def pace(job: Job) -> str:
    """Images a second and seconds to go, as far as known."""
    parts = [f"{job.rate:.1f} images/s"] if job.rate > 0 else []
    if job.eta_seconds is not None:
        minutes, seconds = divmod(round(job.eta_seconds), 60)
        parts.append(f"{minutes}:{seconds:02d} to go")
    return ", ".join(parts)

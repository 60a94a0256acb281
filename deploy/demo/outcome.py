"""What came out of the demo's job: fetched over REST, checked against what went in, saved, shown."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli.progress import STEPS, StepTimes
from gateway.client import Client
from gateway.schemas import Annotations, Job, Report

SHEET_COLUMNS = 6
SHEET_TILE = 256
"""Pixels of a picture's longer side on the contact sheet."""
_CAPTION = 16


@dataclass
class Outcome:
    """Everything that the demo shows."""

    job: Job
    report: Report
    masks: int
    datasets: dict[str, Path]
    overlays: Path
    sheet: Path | None
    missing: list[str] = field(default_factory=list)
    """What is not as it must be, a sentence each; empty: every image is accounted for."""


def collect(client: Client, job: Job, sent: Sequence[Path], out: Path) -> Outcome:
    """Fetches annotations, overlays and datasets of the job's images into `out`."""
    names = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in sent}
    states = {image.image_id: image for image in client.job_images(job.id)}
    missing = [f"{name} went in and is not in the job" for id_, name in names.items() if id_ not in states]
    missing += [f"{id_} is in the job and never went in" for id_ in states if id_ not in names]
    missing += [f"{image.name} was refused: {image.reason}" for image in job.refused]
    for image in states.values():
        if image.state not in ("complete", "in_review"):
            reason = f": {image.failure.reason}" if image.failure else ""
            missing.append(f"{names.get(image.image_id, image.image_id)} is {image.state}{reason}")

    overlays = out / "overlays"
    overlays.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, bytes] = {}
    found: list[Annotations] = []
    for id_, name in sorted(names.items(), key=lambda item: item[1]):
        if id_ in states and states[id_].state in ("complete", "in_review"):
            found.append(client.annotations(id_, job_id=job.id))
            pictures[name] = client.overlay(id_, job_id=job.id)
            (overlays / f"{Path(name).stem}.png").write_bytes(pictures[name])
    sheet = contact_sheet(pictures, out / "contact-sheet.png") if pictures else None

    datasets = {}
    for file_format in ("saco", "coco"):
        export = client.create_export("saco" if file_format == "saco" else "coco", [job.id])
        datasets[file_format] = client.download(export, out / f"dataset.{file_format}.json")
    masks = sum(len(pair.masks) for each in found for pair in each.pairs if pair.polarity == "positive")
    return Outcome(job, client.report(job.id), masks, datasets, overlays, sheet, missing)


def contact_sheet(pictures: Mapping[str, bytes], path: Path) -> Path:
    """All pictures (name to PNG) on one, with their names below."""
    rows = -(-len(pictures) // SHEET_COLUMNS)
    columns = min(SHEET_COLUMNS, len(pictures))
    sheet = Image.new("RGB", (columns * SHEET_TILE, rows * (SHEET_TILE + _CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (name, content) in enumerate(pictures.items()):
        left = index % SHEET_COLUMNS * SHEET_TILE
        top = index // SHEET_COLUMNS * (SHEET_TILE + _CAPTION)
        with Image.open(io.BytesIO(content)) as picture:
            tile = picture.convert("RGB")
        tile.thumbnail((SHEET_TILE - 4, SHEET_TILE - 4))
        sheet.paste(tile, (left + (SHEET_TILE - tile.width) // 2, top + (SHEET_TILE - tile.height) // 2))
        draw.text((left + 4, top + SHEET_TILE + 1), name, fill="black")
    sheet.save(path)
    return path


def show(outcome: Outcome, times: StepTimes, console: Console) -> None:
    """Tables for people: images, pairs, masks, times, files."""
    job, verdicts = outcome.job, outcome.report.pairs_by_verdict
    table = Table(box=box.SIMPLE, show_header=False, title=f"What came out: {job.id}", title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images", str(job.images))
    for state, number in job.counts.items():
        if number:
            table.add_row(f"  {state.replace('_', ' ')}", str(number))
    table.add_row("pairs (image, phrase)", str(sum(verdicts.values())))
    for verdict, meaning in (("accept", "accepted"), ("review", "to review"), ("reject", "rejected")):
        table.add_row(f"  {meaning}", str(verdicts.get(verdict, 0)))
    table.add_row("annotations of record", str(job.accepted_positives + job.accepted_negatives))
    table.add_row("  positive pairs", str(job.accepted_positives))
    table.add_row("  their masks", str(outcome.masks))
    table.add_row("  negative pairs", str(job.accepted_negatives))
    table.add_row("tasks for people", str(job.open_tasks))
    console.print(table)

    steps = Table(box=box.SIMPLE_HEAD, title="Time from submission", title_justify="left")
    steps.add_column("step")
    steps.add_column("all through after", justify="right")
    steps.add_column("images/s", justify="right")
    for step in STEPS:
        seconds = times.ended.get(step)
        pace = f"{job.images / seconds:.2f}" if seconds else "-"
        steps.add_row(step, f"{seconds:.1f} s" if seconds is not None else "-", pace)
    console.print(steps)

    files = Table.grid(padding=(0, 2))
    for file_format, path in outcome.datasets.items():
        files.add_row("dataset", {"saco": "SA-Co", "coco": "COCO"}[file_format], str(path))
    files.add_row("overlays", "", str(outcome.overlays))
    if outcome.sheet is not None:
        files.add_row("all of them", "", str(outcome.sheet))
    console.print(files)

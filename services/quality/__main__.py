"""`make quality`: measures the served models and stage 3 on held-out scenes, and calibrates the score."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from services.core.ontology import Ontology
from services.core.scoring import Calibration
from services.networks.settings import NetworkSettings
from services.networks.verifier.score import SIDES, read_tables, write_tables
from services.proposer.sweep import Sweep
from services.quality import figures, report, score
from services.quality.measuring import Findings, Measuring, all_parts
from services.quality.pipeline import HARD_NEGATIVES, RIGHT_IOU
from services.quality.report import Measured, Quality
from services.quality.rows import RIGHT, Chosen, rows
from services.quality.scenes import CALIBRATION_SEED, SEEDS, known_scene
from services.quality.serving import Models
from services.quality.sweep import fit, witness, write
from services.trainer.calibration import balanced_threshold

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".tercet" / "quality"
SWEEP = ROOT / "services" / "proposer" / "sweep.json"
HALF = ("sam", "grounding", "verifying")
"""Parts measured on half of the scenes, which hold more than enough objects and cases."""

app = typer.Typer(no_args_is_help=True, help=__doc__)
Threads = Annotated[int, typer.Option(help="processors to work on, where the system can say so", min=1)]
Work = Annotated[Path, typer.Option(help="folder of what was found so far")]
Step = tuple[str, int, int]
"""Part, seed, scenes."""


@app.command()
def run(
    scenes: Annotated[int, typer.Option(help="scenes of each seed", min=2)] = 2000,
    seeds: Annotated[int, typer.Option(help="seeds of scenes", min=1, max=len(SEEDS))] = len(SEEDS),
    calibration: Annotated[int, typer.Option(help="other scenes that thresholds are chosen on", min=1)] = 500,
    threads: Threads = 2,
    work: Work = WORK,
    out: Annotated[Path, typer.Option(help="folder of quality.md, quality.json and quality/")] = ROOT
    / "docs",
) -> None:
    """Measure everything; what an earlier run found of the same models is not measured again."""
    console = Console()
    models = _models(threads)
    try:
        measuring = Measuring(all_parts(models), models.versions, models.costs, work)
        part_scenes = {name: max(1, scenes // 2) if name in HALF else scenes for name in measuring.parts}
        chosen_on = ("grounding", CALIBRATION_SEED, calibration)
        measured_on = SEEDS[:seeds]
        steps = [
            chosen_on,
            *((name, seed, part_scenes[name]) for seed in measured_on for name in part_scenes),
        ]
        _work(measuring, steps, console)
        by_part = {
            name: [_known(measuring, (name, seed, count)) for seed in measured_on]
            for name, count in part_scenes.items()
        }
        threshold = _presence_threshold(_known(measuring, chosen_on))
        quality = _figures(by_part, part_scenes, threshold, models, measured_on)
    finally:
        models.close()
    for path in report.write(quality, out):
        console.print(f"written: {path}")
    for one in quality.measured:
        if one.row.goal is not None:
            reached = one.row.reached(one.figure.value)
            mark = "[green]reached[/]" if reached else "[red]not reached[/]"
            console.print(
                f"{one.row.group}: {one.row.name} {one.figure.value:.3f} ({one.row.goal:.2f}) {mark}"
            )


@app.command("calibrate-score")
def calibrate_score(
    scenes: Annotated[int, typer.Option(help="scenes to fit on", min=2)] = 600,
    threads: Threads = 2,
    work: Work = WORK,
) -> None:
    """Fit the score's calibration to the served models and keep it with the verifier's weights.

    Run it after any of the four models was changed, then start the models anew.
    """
    console = Console()
    settings = NetworkSettings()
    models = _models(threads)
    try:
        measuring = Measuring(all_parts(models), models.versions, models.costs, work)
        step = ("pipeline", CALIBRATION_SEED, scenes)
        _work(measuring, [step], console)
        found = _known(measuring, step).scenes
    finally:
        models.close()
    pairs = {side: score.raw_and_right(found, side == "positive") for side in SIDES}
    try:
        tables = {side: score.fit(pairs[side]) for side in SIDES}
    except ValueError as fault:
        raise typer.BadParameter(str(fault), param_hint="--scenes") from fault
    path = write_tables(
        settings.weights("verifier"),
        tables,
        {
            "scenes": scenes,
            "models": dict(models.versions),
            "pairs": {side: len(pairs[side]) for side in SIDES},
            "right": {side: round(float(np.mean([r for _, r in pairs[side]])), 4) for side in SIDES},
        },
    )
    console.print(f"written: {path}; it serves from the models' next start on")


@app.command("calibrate-sweep")
def calibrate_sweep(
    scenes: Annotated[int, typer.Option(help="scenes to fit on", min=1)] = 300,
    threads: Threads = 2,
    file: Annotated[Path, typer.Option(help="sweep file that is read and written")] = SWEEP,
) -> None:
    """Fit the biases of the proposer's sweep to the served models.

    Run it after the proposer or the grounder was changed, before calibrate-score.
    """
    console = Console()
    words, before = Ontology.load(), Sweep.load(file)
    models = _models(threads)
    try:
        numbers = track(range(scenes), "scenes", console=console)
        seen = [witness(models, known_scene(CALIBRATION_SEED, number), before) for number in numbers]
    finally:
        models.close()
    after = fit(before, seen, words)
    write(after, file)
    biases = ", ".join(f"{swept.bias:.2f}" for swept in after.sweeps)
    console.print(f"written: {file}; written_bias {after.written_bias:.2f}, sweeps {biases}")


def _models(threads: int) -> Models:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    # One thread a model: the four work side by side, and their time can be told apart.
    return Models(NetworkSettings(threads=1))


def _work(measuring: Measuring, steps: Sequence[Step], console: Console) -> None:
    """Measure what is missing. An interrupt loses a chunk of scenes at most."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        whole = progress.add_task("scenes", total=sum(count for _, _, count in steps))
        for name, seed, count in steps:
            progress.update(whole, description=f"{name}, seed {seed}")
            for done in measuring.measure(name, seed, count):
                progress.advance(whole, done)


def _known(measuring: Measuring, step: Step) -> Findings:
    found = measuring.findings(*step)
    if found is None:
        raise RuntimeError(f"{step} was measured, and its findings are gone")
    return found


def _presence_threshold(found: Findings) -> float:
    """The presence above which balanced accuracy is best on the calibration scenes."""
    present, absent = (
        np.array([p for scene in found.scenes for p in scene[side]]) for side in ("present", "absent")
    )
    return balanced_threshold(present, absent)[0]


def _figures(
    by_part: dict[str, list[Findings]],
    part_scenes: dict[str, int],
    threshold: float,
    models: Models,
    seeds: Sequence[int],
) -> Quality:
    folder = NetworkSettings().weights("verifier")
    tables = read_tables(folder)
    calibrations = {
        side == "positive": Calibration.of(
            [] if tables is None else [(float(a), float(b)) for a, b in getattr(tables, side)]
        )
        for side in SIDES
    }
    chosen = Chosen(threshold, calibrations)
    kinds = {
        task: sorted({case[3] for one in by_part["verifying"] for x in one.scenes for case in x[task]})
        for task in RIGHT
    }
    measured = [
        Measured(
            row,
            figures.figure([one.scenes for one in by_part[row.part]], row.make),
            part_scenes[row.part],
        )
        for row in rows(chosen, kinds)
    ]
    pipeline = by_part["pipeline"]
    images = sum(len(one.scenes) for one in pipeline)
    names = {name for one in pipeline for name in one.seconds}
    return Quality(
        measured=measured,
        versions=models.versions,
        chosen=chosen,
        calibrated=tables is not None,
        seconds={
            name: sum(one.seconds.get(name, 0.0) for one in pipeline) / images for name in sorted(names)
        },
        seeds=seeds,
        pipeline=[scene for one in pipeline for scene in one.scenes],
        notes=_notes(threshold, tables is not None),
    )


def _notes(threshold: float, calibrated: bool) -> str:
    """What the words of the table mean."""
    text = resources.files(__package__).joinpath("notes.md").read_text("utf-8")
    on_others = "The score is calibrated on scenes that are not among these."
    return text.format(
        threshold=threshold,
        right_iou=RIGHT_IOU,
        score=on_others if calibrated else "The score is not calibrated: it is the raw one.",
        negatives=HARD_NEGATIVES,
    )


if __name__ == "__main__":
    app()

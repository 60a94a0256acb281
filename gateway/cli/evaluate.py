"""`tercet evaluate`: how good annotations or predictions are, judged by a truth. Works without a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failures import REFUSED, tell
from gateway.cli.session import Json, print_fields, print_json, stderr, stdout

if TYPE_CHECKING:
    from services.core.evaluation import Figure, Report, Scores

SHOWN = (
    ("cgF1", "IL_MCC", "pmF1", "precision", "recall", "F1"),
    ("cgF1@0.5", "cgF1@0.75", "pmF1@0.5", "pmF1@0.75"),
    ("AP", "AP@0.5", "AP@0.75", "mask_IoU", "boundary_IoU"),
    ("presence_accuracy", "presence_balanced_accuracy", "ECE_presence", "ECE_masks", "ECE_pairs"),
)
"""Figures of the table, in groups. All others are in `--json`."""
SHOWN_PER_PHRASE = ("pmF1", "precision", "recall", "AP", "boundary_IoU", "presence_accuracy")


def evaluate(
    pred: Annotated[
        Path,
        typer.Argument(
            help="What is judged: SA-Co JSON, such as an export, or COCO results.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    gold: Annotated[
        list[Path],
        typer.Argument(
            help="The truth: SA-Co JSON. Of several annotators the best agreeing counts for each pair.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    per_phrase: Annotated[bool, typer.Option("--per-phrase", help="A line for each phrase, too.")] = False,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Masks scored lower are not predicted.")
    ] = 0.5,
    resamples: Annotated[
        int, typer.Option(min=0, max=100_000, help="Of the bootstrap, by images; 0: no intervals.")
    ] = 1000,
    confidence: Annotated[float, typer.Option(min=0.01, max=0.999, help="Share of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    as_json: Json = False,
) -> None:
    """Judge PRED by GOLD: cgF1, IL_MCC and pmF1 as SAM 3 defines them, COCO AP, boundary IoU, calibration.

    Files whose ids differ are joined by file name and phrase. Only pairs exhaustive in every GOLD file count.
    """
    try:
        from services.core import evaluation
        from services.core.errors import InvalidInput
    except ImportError as error:
        tell(f"this installation cannot evaluate ({error}); install the extra `evaluation`")
        raise typer.Exit(REFUSED) from None
    settings = evaluation.EvaluationSettings(threshold, resamples, confidence, seed)
    try:
        prediction, *truths = (evaluation.loads(path.read_bytes(), str(path)) for path in (pred, *gold))
        with stderr().status("evaluating"):
            report = evaluation.evaluate(prediction, truths, settings, per_phrase=per_phrase)
    except InvalidInput as error:
        tell(str(error))
        raise typer.Exit(REFUSED) from None
    if as_json:
        print_json(report.as_json())
    else:
        _show(report, evaluation.MEANINGS)


def _show(report: Report, meanings: dict[str, str]) -> None:
    overall, settings = report.overall, report.settings
    judged = f"{overall.pairs} pairs: {overall.positives} present, {overall.negatives} absent"
    fields: list[tuple[str, object]] = [
        ("judged", f"{judged}; {overall.images} images, {overall.true_masks} true masks"),
        ("predicted", f"{overall.predicted_masks} masks scored at least {settings.threshold:g}"),
    ]
    if report.annotators > 1:
        fields.append(("annotators", f"{report.annotators}; for each pair the one that agrees best counts"))
    left_out = (
        ("not counted", report.not_exhaustive, "in the truth, but not exhaustively annotated"),
        ("unanswered", report.unanswered, "without an entry in the prediction, taken as predicted absent"),
        ("unjudged", report.unjudged, "predicted, but not in the truth"),
    )
    fields += [(name, f"{count} pairs: {what}") for name, count, what in left_out if count]
    print_fields(fields)
    interval = f"{settings.confidence:.0%} interval"
    _table(
        ["figure", "value", interval, "meaning"],
        (
            [
                [name, *_cells(overall.figures[name]), _meaning(name, meanings)]
                for name in group
                if overall.figures[name].value is not None
            ]
            for group in SHOWN
        ),
        numeric=(1, 2),
    )
    if report.per_phrase:
        _table(
            ["phrase", "pairs", "present", "true masks", *SHOWN_PER_PHRASE],
            [[_phrase(phrase, scores) for phrase, scores in report.per_phrase.items()]],
            numeric=range(1, 4 + len(SHOWN_PER_PHRASE)),
        )


def _phrase(phrase: str, scores: Scores) -> list[str]:
    counts = [str(count) for count in (scores.pairs, scores.positives, scores.true_masks)]
    # A quotient of nothing is 0 by definition; in a table it would look like a failure.
    empty = {"pmF1", "recall"} if not scores.true_masks else set()
    empty |= {"precision"} if not scores.predicted_masks else set()
    shown = {name: None if name in empty else scores.figures[name].value for name in SHOWN_PER_PHRASE}
    return [phrase, *counts, *map(_number, shown.values())]


def _meaning(name: str, meanings: dict[str, str]) -> str:
    plain, at, tau = name.partition("@")
    return f"at IoU {tau.removeprefix('0')}" if at else meanings[plain]


def _cells(figure: Figure) -> tuple[str, str]:
    if figure.low is None:
        return _number(figure.value), "-"
    return _number(figure.value), f"{_number(figure.low)} to {_number(figure.high)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(
    columns: Sequence[str], groups: Iterable[Sequence[Sequence[str]]], *, numeric: Iterable[int]
) -> None:
    """A table with a line between groups; columns that are numbers are right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    right = set(numeric)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in right else "left", overflow="fold")
    for group in groups:
        for row in group:
            table.add_row(*(Text(cell) for cell in row))
        table.add_section()
    stdout().print(table)

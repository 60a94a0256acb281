"""`tercet pairs`, `tercet statistics` and `tercet whoami`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli.session import Json, client_of, print_fields, print_json, print_table

if TYPE_CHECKING:
    from gateway.schemas import GalleryItem, Statistics

Polarity = Literal["positive", "negative"]
Verdict = Literal["accept", "review", "reject"]


def whoami(context: typer.Context, as_json: Json = False) -> None:
    """Whose key this is, and what it may do."""
    with client_of(context) as client:
        found = client.me()
    if as_json:
        print_json(found)
        return
    roles = ", ".join(found.roles)
    print_fields([("key", found.key_id), ("name", found.name), ("tenant", found.tenant), ("roles", roles)])


def pairs(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="Job id.")],
    phrase: Annotated[str | None, typer.Option(help="Only this phrase.")] = None,
    polarity: Annotated[Polarity | None, typer.Option(help="Only of this polarity.")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Only with this verdict.")] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Least score.")] = None,
    max_score: Annotated[float | None, typer.Option(min=0, max=1, help="Largest score.")] = None,
    model: Annotated[str | None, typer.Option(help="Name or weights of a model that took part.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Key id of who made or decided it.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """The pairs of a job as they stand: in the dataset, waiting for people, rejected."""
    with client_of(context) as client:
        every = client.pairs(
            job_id,
            phrase=phrase,
            polarity=polarity,
            verdict=verdict,
            min_score=min_score,
            max_score=max_score,
            model=model,
            annotator=annotator,
            page_size=min(limit, 200),
        )
        found = list(islice(every, limit))
    if as_json:
        print_json(found)
        return
    columns = ["phrase", "polarity", "masks", "score", "verdict", "", "image"]
    print_table(columns, map(_row, found), empty="no such pairs")


def statistics(
    context: typer.Context,
    job: Annotated[str | None, typer.Option(help="Only of this job.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.01, help="Only the last hours.")] = None,
    as_json: Json = False,
) -> None:
    """Throughput, people's time, corrections, agreement and cost."""
    with client_of(context) as client:
        found = client.statistics(job_id=job, hours=hours)
    if as_json:
        print_json(found)
        return
    _print_stages(found)
    _print_people(found)


def _row(item: GalleryItem) -> list[object]:
    pair = item.pair
    waiting = "waits" if item.waiting else ""
    name = item.image.name or item.image.id[:12]
    return [pair.phrase, pair.polarity, len(pair.masks), pair.score, pair.verdict, waiting, name]


def _print_stages(found: Statistics) -> None:
    rows = (
        [
            one.stage,
            one.images,
            one.images_per_hour,
            one.pairs,
            one.pairs_per_hour,
            one.seconds_per_positive,
            one.seconds_per_negative,
            one.cost,
        ]
        for one in found.stages
    )
    columns = ["stage", "images", "per hour", "pairs", "per hour", "s/positive", "s/negative", found.currency]
    print_table(columns, rows, empty="nothing was done yet")


def _print_people(found: Statistics) -> None:
    rows = (
        [
            one.name,
            one.decisions,
            one.images_per_hour,
            one.pairs_per_hour,
            one.seconds_per_pair,
            one.rejection_rate,
            one.edit_rate,
            one.agreement,
        ]
        for one in found.people
    )
    columns = ["person", "decisions", "images/h", "pairs/h", "s/pair", "rejected", "edited", "agreement"]
    print_table(columns, rows, empty="nobody has decided anything yet")

"""`tercet jobs`: submit, watch, list, show, cancel."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli.failures import DONE_NOT_WELL
from gateway.cli.session import Json, client_of, print_fields, print_json, print_table, stderr, stdout

if TYPE_CHECKING:
    from gateway.schemas import Job, JobOptions

# As in gateway.schemas, which is not loaded before a command runs; a test holds them equal.
Stage = Literal["assisted_manual", "semi_automatic", "automatic"]
Tier = Literal["gold", "silver", "synthetic"]
ImageState = Literal[
    "submitted", "proposed", "segmented", "verified", "in_review", "complete", "failed", "cancelled"
]

SHOWN_REFUSALS = 20

JobId = Annotated[str, typer.Argument(help="Job id.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds to watch; the job goes on. Default: to its end.")
]

app = typer.Typer(help="Submit images and follow them.", no_args_is_help=True)


@app.command()
def submit(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(help="A folder, files, a zip, or http(s):// and object-store addresses.")
    ],
    stage: Annotated[Stage, typer.Option(help="How the images are worked on.")] = "automatic",
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    phrase: Annotated[
        list[str] | None, typer.Option("--phrase", "-p", help="Your own noun phrase; repeat for more.")
    ] = None,
    hard_negatives: Annotated[
        int | None, typer.Option(min=0, max=30, help="Hard negatives wanted for each image.")
    ] = None,
    accept_above: Annotated[
        float | None, typer.Option(min=0, max=1, help="A pair scoring above this joins the dataset unseen.")
    ] = None,
    reject_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="A pair scoring below this is rejected.")
    ] = None,
    audit_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of accepted pairs that a person checks.")
    ] = None,
    exhaustivity_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of stage 2 pairs that a second person checks.")
    ] = None,
    tier: Annotated[Tier | None, typer.Option(help="Human evidence wanted.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Gets a POST when the job's work ends.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeating the command with the same key makes no second job.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until the models are done.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Submit images as one job. With --watch, exit code 1 says that images failed or were refused."""
    options = _options(
        stage=stage,
        name=name,
        phrases=phrase,
        hard_negatives=hard_negatives,
        thresholds={"accept_above": accept_above, "reject_below": reject_below},
        audit_rate=audit_rate,
        exhaustivity_rate=exhaustivity_rate,
        tier=tier,
        webhook_url=webhook,
    )
    with client_of(context) as client:
        progress = stderr()
        with progress.status("submitting"):
            job = client.submit(sources, options, idempotency_key=idempotency_key)
        for image in job.refused[:SHOWN_REFUSALS]:
            progress.print(f"refused: {image.name}: {image.reason}", markup=False)
        if watch:
            from gateway.cli.progress import follow

            progress.print(f"{job.id}: {job.images} images", markup=False)
            job = follow(client.watch(job.id, timeout=timeout), progress)
    if as_json:
        print_json(job)
    elif watch:
        _summary(job)
    else:
        stdout().print(job.id, markup=False)
        progress.print(f"{job.images} images; follow them: tercet jobs watch {job.id}", markup=False)
    if (watch and not _well(job)) or job.refused:
        raise typer.Exit(DONE_NOT_WELL)


@app.command()
def watch(context: typer.Context, job_id: JobId, timeout: Timeout = None, as_json: Json = False) -> None:
    """Follow a job until the models are done. Exit code 1: images failed, or it was cancelled."""
    from gateway.cli.progress import follow

    with client_of(context) as client:
        job = follow(client.watch(job_id, timeout=timeout), stderr())
    if as_json:
        print_json(job)
    else:
        _summary(job)
    if not _well(job):
        raise typer.Exit(DONE_NOT_WELL)


@app.command("list")
def list_jobs(context: typer.Context, limit: Limit = 20, as_json: Json = False) -> None:
    """Jobs, newest first."""
    with client_of(context) as client:
        jobs = list(islice(client.jobs(page_size=min(limit, 200)), limit))
    if as_json:
        print_json(jobs)
        return
    print_table(
        ["job", "name", "stage", "status", "images", "done", "failed", "to review", "submitted"],
        (
            [
                j.id,
                j.name,
                j.stage,
                j.status,
                j.images,
                _done(j),
                j.counts.get("failed", 0),
                j.open_tasks,
                j.submitted_at,
            ]
            for j in jobs
        ),
        empty="no jobs yet: tercet jobs submit FOLDER --watch",
    )


@app.command()
def show(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """One job: what it asks for, how far it is, what failed."""
    with client_of(context) as client:
        job = client.job(job_id)
    if as_json:
        print_json(job)
    else:
        _summary(job)


@app.command()
def images(
    context: typer.Context,
    job_id: JobId,
    state: Annotated[ImageState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """A job's images, in order of id."""
    with client_of(context) as client:
        found = list(islice(client.job_images(job_id, state=state, page_size=min(limit, 500)), limit))
    if as_json:
        print_json(found)
        return
    rows = ([i.image_id, i.name, i.state, i.failure.reason if i.failure else ""] for i in found)
    print_table(["image", "name", "state", "reason"], rows, empty="no such images")


@app.command()
def report(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Quality, throughput and human cost of a job."""
    with client_of(context) as client:
        found = client.report(job_id)
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            *((f"pairs: {verdict}", number) for verdict, number in sorted(found.pairs_by_verdict.items())),
            ("decisions of people", found.decisions),
            ("of them corrections", found.corrections),
            ("active seconds", found.active_seconds),
        ]
    )


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """End a job: images that have no result yet get none."""
    with client_of(context) as client:
        job = client.cancel(job_id)
    if as_json:
        print_json(job)
    else:
        stdout().print(
            f"{job.id} {job.status}: {_done(job)} of {job.images} images had their result", markup=False
        )


def _options(**asked: Any) -> JobOptions:
    """Only what was asked for: the gateway knows the defaults. Raises pydantic's ValidationError."""
    from gateway.client import JobOptions

    asked["thresholds"] = {name: value for name, value in asked["thresholds"].items() if value is not None}
    return JobOptions.model_validate(
        {name: value for name, value in asked.items() if value not in (None, [], {})}
    )


def _done(job: Job) -> int:
    return job.counts.get("complete", 0) + job.counts.get("in_review", 0)


def _well(job: Job) -> bool:
    return job.status != "cancelled" and not job.counts.get("failed") and not job.refused


def _summary(job: Job) -> None:
    from gateway.cli.progress import pace

    spent = (job.finished_at - job.submitted_at).total_seconds() if job.finished_at else None
    counts = ", ".join(
        f"{number} {state.replace('_', ' ')}" for state, number in job.counts.items() if number
    )
    fields: list[tuple[str, object]] = [
        ("job", f"{job.id}  {job.name}".strip()),
        (
            "status",
            job.status.replace("_", " ")
            + (f" ({pace(job)})" if job.status == "running" and pace(job) else ""),
        ),
        ("stage", job.stage),
        ("images", f"{job.images}: {counts}" if counts else job.images),
        ("accepted pairs", f"{job.accepted_positives} positive, {job.accepted_negatives} negative"),
        ("tasks for people", job.open_tasks),
    ]
    if job.phrases:
        fields.insert(3, ("phrases", ", ".join(job.phrases)))
    if spent:
        fields.append(("time", f"{spent:.1f} s, {_done(job) / spent:.2f} images/s"))
    print_fields(fields)
    reasons = [["failed", f.name or f.image_id, f.reason] for f in job.failures]
    reasons += [["refused", r.name, r.reason] for r in job.refused]
    if reasons:
        print_table(["", "image", "reason"], reasons, empty="")

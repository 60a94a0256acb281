"""`tercet dlq`: records that could not be worked."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.session import Json, client_of, print_json, print_table, stdout

Topic = Annotated[str | None, typer.Option(help="Only those read from this topic, e.g. images.proposed.")]

app = typer.Typer(help="Dead letters: see why, and work them again after a fix.", no_args_is_help=True)


@app.command("list")
def list_dead_letters(
    context: typer.Context,
    topic: Topic = None,
    job: Annotated[str | None, typer.Option(help="Only those of this job.")] = None,
    as_json: Json = False,
) -> None:
    """Dead letters, oldest first; without those that were replayed."""
    with client_of(context) as client:
        found = client.dead_letters(topic=topic, job_id=job)
    if as_json:
        print_json(found)
        return
    print_table(
        ["id", "group", "job", "key", "error", "reason", "tries", "when"],
        ([d.id, d.group, d.job_id, d.key[:12], d.error, d.message, d.attempts, d.failed_at] for d in found),
        empty="no dead letters",
    )


@app.command()
def replay(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids as `dlq list` tells them.", show_default=False)
    ] = None,
    topic: Topic = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    as_json: Json = False,
) -> None:
    """Put dead letters back on their topics: those named, those of a topic, or --all."""
    if not ids and topic is None and not everything:
        raise typer.BadParameter("name ids, a --topic, or --all")
    with client_of(context) as client:
        replayed = client.replay(topic=topic, ids=ids or [])
    if as_json:
        print_json({"replayed": replayed})
    else:
        stdout().print(f"{replayed} records are back on their topics")

"""`tercet reviews`: people's work, as a lead looks after it from a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.session import Json, client_of, print_json, print_table, stdout

app = typer.Typer(help="People's work: queues, one task by name, undo.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(help="Task id.", show_default=False)]


@app.command()
def queues(
    context: typer.Context,
    job: Annotated[str | None, typer.Option(help="Only of this job.")] = None,
    as_json: Json = False,
) -> None:
    """How much work waits for people, is held and is done."""
    with client_of(context) as client:
        found = client.queues(job_id=job)
    if as_json:
        print_json(found)
        return
    rows = ([queue.type, queue.waiting, queue.leased, queue.decided] for queue in found.queues)
    print_table(["type", "waiting", "held", "decided"], rows, empty="no tasks for people yet")
    if found.waiting_by_reason:
        reasons = sorted(found.waiting_by_reason.items(), key=lambda one: (-one[1], one[0]))
        print_table(
            ["waiting because of", "tasks"], ([reason, number] for reason, number in reasons), empty=""
        )


@app.command()
def take(context: typer.Context, task_id: TaskId, as_json: Json = False) -> None:
    """Hold one task, or hold it longer. Its lease id goes to stdout."""
    with client_of(context) as client:
        held = client.take_review(task_id)
    if as_json:
        print_json(held)
    else:
        stdout().print(held.lease_id, markup=False, soft_wrap=True)


@app.command()
def undo(
    context: typer.Context,
    task_id: TaskId,
    decision_id: Annotated[str, typer.Argument(help="The decision to take back.", show_default=False)],
    release: Annotated[
        bool, typer.Option(help="Give the task back to everyone, instead of holding it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take your own decision back. The task is open again, and held by you."""
    with client_of(context) as client:
        opened = client.undo_review(task_id, decision_id)
        if release:
            client.release_review(opened)
    if as_json:
        print_json(opened)
        return
    what = f"{opened.earlier.kind} of {decision_id} no longer stands; the task is "
    stdout().print(what + ("open" if release else f"yours: {opened.lease_id}"), markup=False, soft_wrap=True)

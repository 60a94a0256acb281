"""`tercet lag` and `tercet models`."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.session import Json, client_of, print_json, print_table

models = typer.Typer(help="The models that serve.", no_args_is_help=True)


def lag(
    context: typer.Context,
    partitions: Annotated[bool, typer.Option(help="A line for each partition, not for each topic.")] = False,
    as_json: Json = False,
) -> None:
    """How far each service is behind: unread records, and the age of the oldest."""
    with client_of(context) as client:
        found = client.lag()
    if as_json:
        print_json(found)
        return
    rows: list[list[object]] = []
    if partitions:
        rows = [
            [p.group, p.topic, p.partition, p.records, p.seconds, p.members, _mark(p.stalled)] for p in found
        ]
        columns = ["group", "topic", "partition", "records", "seconds", "members", ""]
    else:
        columns = ["group", "topic", "records", "seconds", "members", ""]
        for group, topic in dict.fromkeys((p.group, p.topic) for p in found):
            mine = [p for p in found if (p.group, p.topic) == (group, topic)]
            records, seconds = sum(p.records for p in mine), max(p.seconds for p in mine)
            if topic.endswith(".dlq") and not records:
                continue  # their readers are as many as the topics; they matter when they are behind
            members, stalled = max(p.members for p in mine), any(p.stalled for p in mine)
            rows.append([group, topic, records, seconds, members, _mark(stalled)])
    print_table(columns, rows, empty="no consumer group has read anything yet")


@models.command("list")
def list_models(context: typer.Context, as_json: Json = False) -> None:
    """Names, weights and versions."""
    with client_of(context) as client:
        found = client.models()
    if as_json:
        print_json(found)
        return
    print_table(
        ["model", "weights", "version"], ([m.name, m.weights, m.version] for m in found), empty="no models"
    )


def _mark(stalled: bool) -> str:
    return "STALLED" if stalled else ""

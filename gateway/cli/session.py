"""What the commands share: the client, and where their output goes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from httpx import BaseTransport
    from pydantic import BaseModel
    from rich.console import Console

    from gateway.client import Client

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")]

PIPE_WIDTH = 240
"""Columns of tables that no terminal shows: lines are not folded, so that grep and cut work."""


@dataclass(frozen=True)
class Session:
    """Options before the command; an embedding program may give the transport."""

    url: str | None = None
    transport: BaseTransport | None = None

    def client(self) -> Client:
        """The client of the gateway that is meant. Nothing connects before the first call."""
        from gateway.client import Client, ClientSettings

        settings = ClientSettings(url=self.url) if self.url else ClientSettings()
        return Client(settings, transport=self.transport)


def client_of(context: typer.Context) -> Client:
    """The command's client."""
    session = context.find_object(Session) or Session()
    return session.client()


def stdout() -> Console:
    """For results that people read."""
    return _console(stderr=False)


def stderr() -> Console:
    """For progress and remarks."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def print_json(result: BaseModel | Sequence[BaseModel] | dict[str, Any]) -> None:
    """A model, models as an array, or a plain object, as one JSON document on stdout."""
    import json

    from pydantic import BaseModel

    plain: Any
    if isinstance(result, BaseModel):
        plain = result.model_dump(mode="json")
    elif isinstance(result, dict):
        plain = result
    else:
        plain = [item.model_dump(mode="json") for item in result]
    json.dump(plain, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table on stdout; `empty` where there are no rows. Numbers are right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = [list(row) for row in rows]
    if not listed:
        stdout().print(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(_cell(value)) for value in row))
    stdout().print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, a line each, on stdout."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in fields:
        table.add_row(Text(name, style="dim"), Text(_cell(value)))
    stdout().print(table)


def _cell(value: object) -> str:
    from datetime import datetime

    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)

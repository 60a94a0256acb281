"""`tercet exports`: datasets as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli.session import Json, client_of, print_fields, print_json, print_table, stdout

if TYPE_CHECKING:
    from gateway.schemas import Export

# As in gateway.schemas; a test holds them equal.
Format = Literal["saco", "coco"]

app = typer.Typer(help="Make and download datasets.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    jobs: Annotated[
        list[str] | None, typer.Argument(help="Job ids. Default: all jobs.", show_default=False)
    ] = None,
    file_format: Annotated[
        Format,
        typer.Option("--format", "-f", help="SA-Co JSON (an entry a pair), or COCO instances with RLE."),
    ] = "saco",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Download it, too: a file, or a folder to put it in.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a dataset of jobs. The same content has the same id and the same bytes."""
    with client_of(context) as client:
        export = client.create_export(file_format, jobs or [])
        path = client.download(export, out) if out is not None else None
    if as_json:
        print_json({**export.model_dump(mode="json"), **({"path": str(path)} if path else {})})
    else:
        _describe(export, path)


@app.command("list")
def list_exports(context: typer.Context, as_json: Json = False) -> None:
    """Exports, newest first."""
    with client_of(context) as client:
        found = client.exports()
    if as_json:
        print_json(found)
        return
    print_table(
        ["export", "format", "images", "pairs", "masks", "bytes", "created"],
        ([e.id, e.format, e.images, e.pairs, e.masks, e.size, e.created_at] for e in found),
        empty="no exports yet: tercet exports create",
    )


@app.command()
def show(
    context: typer.Context,
    export_id: Annotated[str, typer.Argument(help="Export id.", show_default=False)],
    as_json: Json = False,
) -> None:
    """One export."""
    with client_of(context) as client:
        export = client.export(export_id)
    if as_json:
        print_json(export)
    else:
        _describe(export, None)


@app.command()
def download(
    context: typer.Context,
    export_id: Annotated[str, typer.Argument(help="Export id.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="A file, or a folder to put it in.")] = Path(),
    as_json: Json = False,
) -> None:
    """Save an export; its checksum is verified, and a file that was there stays until then."""
    with client_of(context) as client:
        path = client.download(export_id, out)
    if as_json:
        print_json({"path": str(path)})
    else:
        stdout().print(str(path), markup=False)


def _describe(export: Export, path: Path | None) -> None:
    fields: list[tuple[str, object]] = [
        ("export", export.id),
        ("format", export.format),
        ("holds", f"{export.images} images, {export.pairs} pairs, {export.masks} masks"),
        ("size", f"{export.size} bytes, SHA-256 {export.sha256}"),
        ("created", export.created_at),
    ]
    print_fields([*fields, ("file", path)] if path else fields)

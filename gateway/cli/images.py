"""`tercet images`: pictures, overlays and annotations of record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.session import Json, client_of, print_fields, print_json, print_table, stdout

ImageId = Annotated[str, typer.Argument(help="Image id: SHA-256 of the submitted bytes.", show_default=False)]
OfJob = Annotated[str | None, typer.Option("--job", help="Of this job. Default: the newest that has any.")]

app = typer.Typer(help="Pictures, overlays and annotations.", no_args_is_help=True)


@app.command()
def show(context: typer.Context, image_id: ImageId, as_json: Json = False) -> None:
    """Size, name and jobs of a picture."""
    with client_of(context) as client:
        image = client.image(image_id)
    if as_json:
        print_json(image)
        return
    print_fields(
        [
            ("image", image.id),
            ("name", image.name),
            ("kept as", image.media_type),
            ("size", f"{image.width} x {image.height} pixels"),
            ("jobs", ", ".join(image.job_ids) or "none"),
        ]
    )


@app.command("annotations")
def show_annotations(
    context: typer.Context, image_id: ImageId, job: OfJob = None, as_json: Json = False
) -> None:
    """Annotations of record; the masks themselves are in --json and in exports."""
    with client_of(context) as client:
        found = client.annotations(image_id, job_id=job)
    if as_json:
        print_json(found)
        return
    stdout().print(f"{found.image.name}: {len(found.pairs)} pairs, job {found.job_id}", markup=False)
    print_table(
        ["phrase", "polarity", "masks", "score", "verdict", "pixels", "confused with"],
        (
            [
                pair.phrase,
                "hard negative" if pair.hard_negative else pair.polarity,
                len(pair.masks),
                pair.score,
                pair.verdict,
                sum(mask.area for mask in pair.masks),
                pair.confused_with or "",
            ]
            for pair in found.pairs
        ),
        empty="no pairs",
    )


@app.command()
def overlay(
    context: typer.Context,
    image_id: ImageId,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="PNG to write. Default: IMAGE-ID.png.")
    ] = None,
    job: OfJob = None,
    waiting: Annotated[bool, typer.Option(help="Also pairs that wait for people.")] = False,
    as_json: Json = False,
) -> None:
    """Save the picture with its masks."""
    with client_of(context) as client:
        drawn = client.overlay(image_id, job_id=job, waiting=waiting)
    _save(drawn, out or Path(f"{image_id}.png"), as_json)


@app.command()
def content(
    context: typer.Context,
    image_id: ImageId,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    as_json: Json = False,
) -> None:
    """Save the upright picture that the annotations refer to."""
    with client_of(context) as client:
        _save(client.content(image_id), out, as_json)


def _save(picture: bytes, path: Path, as_json: bool) -> None:
    path.write_bytes(picture)
    if as_json:
        print_json({"path": str(path), "bytes": len(picture)})
    else:
        stdout().print(str(path), markup=False)

"""`tercet scenes`: drawn images with known truth, to try things with."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.cli.failures import REFUSED, tell
from gateway.cli.session import Json, print_json, stdout

app = typer.Typer(help="Drawn images with known truth, to try things with.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `make` a command of its own while it is the only one."""


@app.command()
def make(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write: images/, coco.json, saco.json.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many.")] = 24,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of the first scene; the others follow. The bundled models were trained on seeds below "
            "16,000: to measure them, start higher.",
        ),
    ] = 0,
    width: Annotated[int, typer.Option(min=32, max=8192, help="Image width in pixels.")] = 256,
    height: Annotated[int, typer.Option(min=32, max=8192, help="Image height in pixels.")] = 256,
    difficulty: Annotated[
        Literal["easy", "medium", "hard"], typer.Option(help="Count, size, crowding, occlusion, noise.")
    ] = "medium",
    as_json: Json = False,
) -> None:
    """Draw scenes; then: tercet jobs submit OUT/images --watch."""
    # By name: the gateway's layer does not depend on the generator, and an installation may lack it.
    try:
        scenes = importlib.import_module("services.scenes")
        dataset = importlib.import_module("services.scenes.dataset")
    except ImportError as error:
        tell(f"this installation cannot draw scenes ({error}); install the extra `services`")
        raise typer.Exit(REFUSED) from None
    settings = scenes.SceneSettings.preset(difficulty, width=width, height=height)
    dataset.write_dataset(n, out, seed, settings)
    if as_json:
        print_json({"path": str(out), "images": str(out / "images"), "count": n})
    else:
        stdout().print(f"{n} scenes; next: tercet jobs submit {out / 'images'} --watch", markup=False)

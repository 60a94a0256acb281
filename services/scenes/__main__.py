"""`python -m services.scenes --n 16000 --out DIR`: scenes as arrays, to train and measure on. As images with
their truth: `tercet scenes make`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from services.scenes.arrays import HELD_OUT_SEEDS, write_arrays

app = typer.Typer(help="Scenes as arrays.")


@app.command()
def main(
    n: Annotated[int, typer.Option(help="how many scenes", min=1)],
    out: Annotated[Path, typer.Option(help="folder to write", file_okay=False)],
    seed: Annotated[int, typer.Option(help="seed of the first scene; the others follow", min=0)] = 0,
    side: Annotated[
        int, typer.Option(help="longer side in pixels; a third are not square", min=64, max=8192)
    ] = 256,
    measuring: Annotated[bool, typer.Option(help="held-out seeds and compositions")] = False,
    processes: Annotated[int, typer.Option(help="processes to draw with", min=1)] = 1,
) -> None:
    """Draw scenes with known truth as memory-mapped arrays."""
    first = seed + (HELD_OUT_SEEDS if measuring else 0)
    try:
        with Progress() as progress:
            task = progress.add_task("scenes", total=n)
            for done in write_arrays(out, n, first, side=side, measuring=measuring, processes=processes):
                progress.update(task, completed=done)
    except OSError as fault:
        raise typer.BadParameter(f"{out} cannot be written: {fault}", param_hint="--out") from fault


if __name__ == "__main__":
    app()

"""`python -m services.scenes --n 1000 --out DIR`: a data set with truth; with `--arrays`, arrays for
training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from services.scenes.arrays import HELD_OUT_SEEDS, write_arrays
from services.scenes.dataset import write_dataset
from services.scenes.settings import Difficulty, SceneSettings


def main(
    n: Annotated[int, typer.Option(help="how many scenes", min=1)],
    out: Annotated[Path, typer.Option(help="folder to write")],
    seed: Annotated[int, typer.Option(help="seed of the first scene; the others follow", min=0)] = 0,
    width: Annotated[int, typer.Option(help="image width in pixels", min=32, max=8192)] = 256,
    height: Annotated[int, typer.Option(help="image height in pixels", min=32, max=8192)] = 256,
    difficulty: Annotated[
        Difficulty, typer.Option(help="preset of count, size, crowding, occlusion, noise")
    ] = "medium",
    arrays: Annotated[
        bool, typer.Option(help="write memory-mapped training arrays instead of images")
    ] = False,
    measuring: Annotated[bool, typer.Option(help="with --arrays: held-out seeds and compositions")] = False,
    processes: Annotated[int, typer.Option(help="with --arrays: processes to draw with", min=1)] = 1,
) -> None:
    """Draw scenes with known truth."""
    if not arrays:
        settings = SceneSettings.preset(difficulty, width=width, height=height)
        write_dataset(n, out, seed, settings)
        typer.echo(f"{n} scenes in {out}")
        return
    first = seed + (HELD_OUT_SEEDS if measuring else 0)
    with Progress() as progress:
        task = progress.add_task("scenes", total=n)
        for done in write_arrays(out, n, first, side=width, measuring=measuring, processes=processes):
            progress.update(task, completed=done)


if __name__ == "__main__":
    typer.run(main)

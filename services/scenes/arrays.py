"""Scenes as memory-mapped arrays, so that training reads pictures as fast as the disk gives them.

A folder holds `images.npy` uint8 [N, side, side, 3], `ids.npy` uint8 [N, side, side] and `objects.npy` int16
[N, MOST_OBJECTS, 8]: colour, pattern and kind numbers, visible box x0 y0 x1 y1 (end exclusive), unused; rows
without an object are -1. Scenes that are not square are padded with black at the right or bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.scenes.ontology import ontology
from services.scenes.scene import Scene, make_scene
from services.scenes.settings import SceneSettings

MOST_OBJECTS = 12
CHUNK = 100
HELD_OUT_SEEDS = 10**8
"""Scenes for measuring use seeds from here on; training uses those below."""


@dataclass(frozen=True)
class SceneArrays:
    """The opened arrays of one folder."""

    images: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.uint8]
    objects: npt.NDArray[np.int16]

    @classmethod
    def open(cls, folder: Path) -> SceneArrays:
        """Map the arrays of `folder`; raises FileNotFoundError where it holds none, ValueError where they are
        damaged or not of one set.
        """
        opened = cls(
            np.load(folder / "images.npy", mmap_mode="r"),
            np.load(folder / "ids.npy", mmap_mode="r"),
            np.load(folder / "objects.npy"),
        )
        if opened.images.shape != (*opened.ids.shape, 3) or len(opened.ids) != len(opened.objects):
            raise ValueError("images, ids and objects are of different shapes")
        return opened

    def __len__(self) -> int:
        return len(self.objects)


def object_rows(scene: Scene) -> npt.NDArray[np.int16]:
    """The scene's rows of `objects.npy`, int16 [MOST_OBJECTS, 8]."""
    words = ontology()
    rows = np.full((MOST_OBJECTS, 8), -1, np.int16)
    for row, instance in zip(rows, scene.instances, strict=False):
        x, y, w, h = instance.box
        row[:7] = (
            words.colours.index(instance.colour),
            words.patterns.index(instance.pattern),
            words.kinds.index(instance.kind),
            x,
            y,
            x + w,
            y + h,
        )
        row[7] = 0
    return rows


def varied_settings(seed: int, side: int, measuring: bool) -> SceneSettings:
    """Settings that vary by seed: shape, noise, JPEG; held-out compositions only where one measures."""
    rng = np.random.default_rng(seed ^ 0x5CE7E5)
    width = height = side
    if rng.random() < 0.3:
        short = int(side * rng.uniform(0.55, 0.95))
        width, height = (side, short) if rng.random() < 0.6 else (short, side)
    noise = float(rng.uniform(1, 9)) if rng.random() < 0.35 else 0.0
    quality = int(rng.integers(40, 95)) if rng.random() < 0.3 else None
    return SceneSettings(
        width=width,
        height=height,
        noise=noise,
        jpeg_quality=quality,
        objects=(2, 11),
        held_out="favour" if measuring else "exclude",
    )


def _fill(job: tuple[Path, int, int, int, int, bool]) -> tuple[int, npt.NDArray[np.int16]]:
    folder, start, stop, first_seed, side, measuring = job
    images = np.load(folder / "images.npy", mmap_mode="r+")
    ids = np.load(folder / "ids.npy", mmap_mode="r+")
    rows = []
    for index in range(start, stop):
        seed = first_seed + index
        scene = make_scene(seed, varied_settings(seed, side, measuring))
        h, w = scene.ids.shape
        images[index, :h, :w] = scene.image
        ids[index, :h, :w] = scene.ids
        rows.append(object_rows(scene))
    return start, np.stack(rows)


def write_arrays(
    folder: Path, count: int, first_seed: int, *, side: int = 256, measuring: bool = False, processes: int = 1
) -> Iterator[int]:
    """Write `count` scenes of seeds `first_seed`.. to `folder`; yields the number written so far after each
    chunk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Written last: without it the folder is seen to be unfinished, whatever an earlier run left there.
    (folder / "objects.npy").unlink(missing_ok=True)
    open_memmap: Callable[..., np.memmap[Any, Any]] = np.lib.format.open_memmap
    open_memmap(folder / "images.npy", "w+", np.uint8, (count, side, side, 3)).flush()
    open_memmap(folder / "ids.npy", "w+", np.uint8, (count, side, side)).flush()
    objects = np.full((count, MOST_OBJECTS, 8), -1, np.int16)
    jobs = [
        (folder, start, min(start + CHUNK, count), first_seed, side, measuring)
        for start in range(0, count, CHUNK)
    ]
    done = 0
    with get_context("spawn").Pool(processes) as pool:
        for start, rows in pool.imap_unordered(_fill, jobs):
            objects[start : start + len(rows)] = rows
            done += len(rows)
            yield done
    np.save(folder / "objects.npy", objects)

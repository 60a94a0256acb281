"""Drawn scenes with their truth, as the simulation needs them."""

from __future__ import annotations

import hashlib
import importlib
import io
from typing import Any

import numpy as np

from gateway.simulate.truth import TrueImage, TrueObject
from services.core import masks
from services.core.errors import InvalidInput


def draw(count: int, seed: int, *, difficulty: str, side: int) -> list[TrueImage]:
    """Scenes that no bundled model was trained on, `side` pixels square; `seed` is the first one's number
    among those. Raises `InvalidInput` where nothing can draw.
    """
    # By name: the gateway's layer does not depend on the generator, and an installation may lack it.
    try:
        generator: Any = importlib.import_module("services.scenes")
        first: int = importlib.import_module("services.scenes.arrays").HELD_OUT_SEEDS + seed
        pictures: Any = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise InvalidInput(f"this installation cannot draw scenes ({error}); install `services`") from None
    settings = generator.SceneSettings.preset(difficulty, width=side, height=side)
    return [_image(generator.make_scene(first + at, settings), pictures) for at in range(count)]


def _image(scene: Any, pictures: Any) -> TrueImage:
    encoded = io.BytesIO()
    pictures.fromarray(scene.image).save(encoded, "PNG", compress_level=1)
    content = encoded.getvalue()
    height, width = scene.ids.shape
    return TrueImage(
        id=hashlib.sha256(content).hexdigest(),
        name=f"scene-{scene.seed:08d}.png",
        content=content,
        width=width,
        height=height,
        objects=tuple(
            TrueObject(
                kind=thing.kind,
                colour=thing.colour,
                pattern=thing.pattern,
                counts=masks.encode(np.equal(scene.ids, number + 1)),
                area=thing.area,
            )
            for number, thing in enumerate(scene.instances)
        ),
    )

"""OWLv2 directories as transformers saves them, the bundled one and public ones alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.networks.errors import ModelError
from services.networks.grounder.architecture import StemmedOwlv2
from services.networks.images import Pixels, fit_longest_side, pad_square
from services.networks.pretrained import (
    load_image_processor,
    load_network,
    load_tokenizer,
    number_of,
    read_json,
)

EXTRA = "tercet.json"
THRESHOLD = 0.2

Prepare = Callable[[Pixels], Tensor]


@dataclass(frozen=True)
class Extra:
    """What a directory's `tercet.json` says of its use: `name`, `prompt` (wraps a phrase), `score_threshold`
    (default score of a box), `nms` (IoU above which the weaker of two boxes of a phrase goes),
    `presence_scale` and `presence_shift`. A public directory has none and takes the defaults.

    `presence` (scale, shift) turns a phrase's strongest logit into the logit of its presence. Where it was
    not fitted, a phrase is as likely present as not when its best box just reaches the threshold.
    """

    name: str
    prompt: str
    threshold: float
    nms: float
    presence: tuple[float, float]

    @classmethod
    def read(
        cls,
        folder: Path,
        *,
        name: str,
        prompt: str = "{phrase}",
        threshold: float,
        nms: float,
        chosen: float | None,
    ) -> Extra:
        """Of a folder, with these defaults; `chosen` is a threshold that overrides the folder's. Raises
        `ModelError` for a value that makes no sense.
        """
        path = folder / EXTRA
        extra = read_json(path)
        own = number_of(path, extra, "score_threshold", threshold, least=0, most=1)
        limit = own if chosen is None else chosen
        odds = math.log(max(limit, 1e-4)) - math.log(max(1 - limit, 1e-4))
        wrap = str(extra.get("prompt", prompt))
        try:
            wrap.format(phrase="bus")
        except (AttributeError, ValueError, LookupError) as fault:
            raise ModelError(
                f"{path}: the prompt {wrap!r} has a field other than {{phrase}} ({fault!r})", invalid=False
            ) from fault
        return cls(
            name=str(extra.get("name", name)),
            prompt=wrap,
            threshold=limit,
            nms=number_of(path, extra, "nms", nms, least=0, most=1),
            presence=(
                number_of(path, extra, "presence_scale", 1.0, least=1e-3, most=1e3),
                number_of(path, extra, "presence_shift", -odds, least=-1e3, most=1e3),
            ),
        )

    def presence_of(self, logits: Tensor, solid: Tensor) -> Tensor:
        """Presence [P] for logits [N, P] of N boxes, of which the `solid` [N] show in the image; 0 where none
        does, since nothing of the phrase can then be pointed at.
        """
        scale, shift = self.presence
        best = logits.masked_fill(~solid[:, None], -torch.inf).amax(0)
        return torch.sigmoid(scale * best + shift)


@dataclass(frozen=True)
class Grounder:
    """A loaded OWLv2 with its tokenizer; `prepare` makes normalised pixels [3, S, S] of an image."""

    network: Any
    tokenizer: Any
    prepare: Prepare
    extra: Extra


def load_grounder(folder: Path, threshold: float | None = None) -> Grounder:
    """Load a directory. Raises `ModelError` naming what is missing or of another architecture.

    A network trained here (it has a convolutional stem) was trained with Pillow's resizing, which is quick; a
    public one has its images prepared by its own processor.
    """
    network = load_network(StemmedOwlv2, folder, "owlv2")
    ours = bool(getattr(network.config.vision_config, "conv_stem", None))
    side = int(network.config.vision_config.image_size)
    return Grounder(
        network=network,
        tokenizer=load_tokenizer(folder),
        prepare=_quick(folder) if ours else prepared_by_processor(folder, side, side),
        extra=Extra.read(
            folder,
            name="owlv2",
            prompt="a photo of a {phrase}",
            threshold=THRESHOLD,
            nms=0.5,
            chosen=threshold,
        ),
    )


def _quick(folder: Path) -> Prepare:
    given = read_json(folder / "preprocessor_config.json")
    try:
        mean, std = (torch.tensor(given[name])[:, None, None] for name in ("image_mean", "image_std"))
        side = int(given["size"]["height"])
    except (KeyError, TypeError, ValueError) as fault:
        raise ModelError(
            f"{folder / 'preprocessor_config.json'} needs image_mean, image_std and size.height",
            invalid=False,
        ) from fault

    def prepare(pixels: Pixels) -> Tensor:
        square = torch.tensor(fit_longest_side(pad_square(pixels), side))
        return (square.permute(2, 0, 1).float() / 255 - mean) / std

    return prepare


def prepared_by_processor(folder: Path, height: int, width: int) -> Prepare:
    """By the directory's own image processor. Raises `ModelError` unless it makes images of the network's
    size.
    """
    processor = load_image_processor(folder)

    def prepare(pixels: Pixels) -> Tensor:
        # A copy, for torch may not write into Pillow's.
        given = {"images": np.array(pixels), "input_data_format": "channels_last"}
        values: Tensor = processor(**given, return_tensors="pt")["pixel_values"][0]
        return values

    made = tuple(prepare(np.zeros((32, 48, 3), np.uint8)).shape)
    if made != (3, height, width):
        raise ModelError(
            f"the processor of {folder} makes images {made[1]} x {made[2]}, its network takes {height} x "
            f"{width}: give both the same size in the processor's file and config.json",
            invalid=False,
        )
    return prepare

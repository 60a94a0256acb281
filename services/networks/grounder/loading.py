"""OWLv2 directories as transformers saves them, the bundled one and public ones alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.networks.grounder.architecture import StemmedOwlv2
from services.networks.pretrained import load_directory, read_json

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Grounder:
    """A loaded network with its tokenizer and preprocessing.

    `presence` (scale, shift) turns a phrase's strongest logit into the logit of its presence; `threshold` is
    the default score of a box; `nms` the IoU above which the weaker of two boxes of a phrase goes; `prompt`
    wraps a phrase.
    """

    name: str
    network: Any
    tokenizer: Any
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    prompt: str
    threshold: float
    nms: float
    presence: tuple[float, float]


def load_grounder(folder: Path) -> Grounder:
    """Load a directory. Raises `ModelError` naming what is missing or of another architecture."""
    network, tokenizer = load_directory(StemmedOwlv2, folder, "owlv2")
    preprocessing, extra = read_json(folder / "preprocessor_config.json"), read_json(folder / "tercet.json")
    mean, std = preprocessing.get("image_mean", CLIP_MEAN), preprocessing.get("image_std", CLIP_STD)
    return Grounder(
        name=str(extra.get("name", "owlv2")),
        network=network,
        tokenizer=tokenizer,
        side=int(network.config.vision_config.image_size),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        prompt=str(extra.get("prompt", "a photo of a {phrase}")),
        threshold=float(extra.get("score_threshold", 0.2)),
        nms=float(extra.get("nms", 0.5)),
        presence=(float(extra.get("presence_scale", 1.0)), float(extra.get("presence_shift", 0.0))),
    )

"""OWLv2 directories as transformers saves them, the bundled one and public ones alike."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Owlv2ForObjectDetection

from services.networks.errors import ModelError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Grounder:
    """A loaded network with its tokenizer and preprocessing.

    `presence` (scale, shift) turns a phrase's strongest logit into the logit of its presence; `threshold` is the default
    score of a box; `nms` the IoU above which the weaker of two boxes of a phrase goes; `prompt` wraps a phrase.
    """

    name: str
    network: Owlv2ForObjectDetection
    tokenizer: Any
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    prompt: str
    threshold: float
    nms: float
    presence: tuple[float, float]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except ValueError as fault:
        raise ModelError(f"{path} is not JSON: {fault}", invalid=False) from fault
    return dict(loaded)


def load_grounder(folder: Path) -> Grounder:
    """Load a directory. Raises `ModelError` naming what is missing or of another architecture."""
    config = _read_json(folder / "config.json")
    if not config:
        raise ModelError(f"{folder} has no config.json: not a directory that transformers saved", invalid=False)
    if config.get("model_type") != "owlv2":
        raise ModelError(f"{folder} holds a {config.get('model_type')!r} model; the grounder takes OWLv2", invalid=False)
    try:
        network, report = Owlv2ForObjectDetection.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as fault:
        raise ModelError(f"{folder} cannot be loaded as OWLv2: {fault}", invalid=False) from fault
    missing = sorted(report["missing_keys"])
    if missing or report.get("mismatched_keys"):
        raise ModelError(f"{folder} lacks weights of OWLv2, the first is {missing[:1]}", invalid=False)
    broken = [name for name, value in network.named_parameters() if not value.isfinite().all()]
    if broken:
        raise ModelError(f"{folder} holds NaN or infinity in {broken[0]}", invalid=False)
    preprocessing, extra = _read_json(folder / "preprocessor_config.json"), _read_json(folder / "tercet.json")
    mean, std = preprocessing.get("image_mean", CLIP_MEAN), preprocessing.get("image_std", CLIP_STD)
    return Grounder(
        name=str(extra.get("name", "owlv2")), network=network.eval(), tokenizer=tokenizer,
        side=int(network.config.vision_config.image_size), mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]), prompt=str(extra.get("prompt", "a photo of a {phrase}")),
        threshold=float(extra.get("score_threshold", 0.2)), nms=float(extra.get("nms", 0.5)),
        presence=(float(extra.get("presence_scale", 1.0)), float(extra.get("presence_shift", 0.0))))

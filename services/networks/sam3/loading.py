"""SAM 3 directories as transformers saves them: of the image model (`sam3`), or of the public release
(`sam3_video`), which holds the image model as its detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import Sam3Model

from services.networks.errors import ModelError
from services.networks.grounder.loading import Extra, Prepare, prepared_by_processor
from services.networks.pretrained import load_network, load_tokenizer

THRESHOLD = 0.5
TEXT_LENGTH = 32
"""Tokens of a phrase, as the network was trained; longer ones are cut."""


@dataclass(frozen=True)
class Sam3:
    """A loaded network with its tokenizer; `prepare` makes normalised pixels [3, S, S] of an image. Of
    `extra` the presence is of no use: SAM 3 has its own.
    """

    network: Any
    tokenizer: Any
    prepare: Prepare
    extra: Extra


def load_directory(folder: Path, threshold: float | None) -> Sam3:
    """Load a directory. Raises `ModelError` naming what is missing or of another architecture."""
    tokenizer = load_tokenizer(folder)
    if getattr(tokenizer, "pad_token_id", None) is None:
        raise ModelError(
            f"{folder / 'tokenizer_config.json'} names no pad_token; use the tokenizer of the model",
            invalid=False,
        )
    network = load_network(Sam3Model, folder, "sam3", "sam3_video")
    side = network.config.vision_config.image_size
    wanted = (side, side) if isinstance(side, int) else tuple(side)
    prepare = prepared_by_processor(folder, *wanted)
    longest = int(network.config.text_config.max_position_embeddings)
    if longest < TEXT_LENGTH:
        raise ModelError(
            f"{folder / 'config.json'}: the text encoder takes {longest} tokens; SAM 3 needs {TEXT_LENGTH}",
            invalid=False,
        )
    extra = Extra.read(folder, name="sam3", threshold=THRESHOLD, nms=1.0, chosen=threshold)
    return Sam3(network, tokenizer, prepare, extra)

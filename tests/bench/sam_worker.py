"""One measured process of `tests.bench.sam`: everything-mode by one way, timed in its parts; JSON on stdout.

A network with random weights finds nothing, so with `--substitute` the decoder computes and its output is
then replaced, the same in every way of computing, by logits of blobs and by predicted IoUs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from services.networks.images import fit_longest_side
from services.networks.precision import choose_dtype
from services.networks.sam import everything, postprocessing
from services.networks.sam.architecture import REGISTRY, load_sam
from services.networks.sam.decoding import DecodedTokens
from services.networks.sam.encoding import make_encoder
from services.networks.sam.everything import Limits, PromptDecoder, point_grid, segment_everything
from services.networks.sam.factorised import FactorisedDecoder
from services.networks.sam.postprocessing import Frame, mask_records
from services.networks.sam.suppression import suppress_boxes
from services.networks.settings import NetworkSettings
from services.scenes import SceneSettings, make_scene

PROMPTS_AT_ONCE = 64
SIZES = {"vit_tiny": (640, 480), "vit_b": (1024, 1024)}
LEAST_SCORE = 0.7
"""Substituted predicted IoUs are spread evenly from here to 1."""

Records = list[list[Any]]
Pixels = npt.NDArray[np.uint8]


@dataclass
class Timer:
    """Seconds spent in each part, and how often."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    @contextmanager
    def part(self, name: str, count: int = 1) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began
        self.counts[name] += count

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*given, **named)

        return call


def substitutes(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Logits [N, 3, side, side] of blobs of many sizes, and predicted IoUs [N, 3]."""
    noise = torch.Generator().manual_seed(0)
    steps = torch.linspace(0, 1, side)
    centres = torch.rand(count, 3, 2, generator=noise)
    radii = torch.exp(torch.empty(count, 3).uniform_(np.log(0.02), np.log(0.35), generator=noise))
    slopes = torch.empty(count, 3, 1, 1).uniform_(250, 1500, generator=noise)
    rims = functional.interpolate(
        torch.randn(count, 3, 12, 12, generator=noise), (side, side), mode="bicubic"
    )
    grain = torch.randn(count, 1, side, side, generator=noise) * 0.05
    y = (steps[:, None] - centres[..., 1, None, None]) ** 2
    x = (steps[None, :] - centres[..., 0, None, None]) ** 2
    radius = radii[..., None, None]
    logits = ((radius - (x + y).sqrt() + 0.1 * radius * rims) * slopes).clamp(-22, 14) + grain
    return logits, torch.empty(count, 3).uniform_(LEAST_SCORE, 1, generator=noise)


class Replacing:
    """A decoder that does its work and then answers the substitutes, if there are any."""

    def __init__(self, decoder: PromptDecoder, timer: Timer, given: tuple[Tensor, Tensor] | None) -> None:
        self._decoder, self._timer, self._given, self._next = decoder, timer, given, 0

    def decode(self, sparse: Tensor) -> DecodedTokens:
        with self._timer.part("decode", len(sparse)):
            tokens = self._decoder.decode(sparse)
        if self._given is None:
            return tokens
        some = slice(self._next, self._next + len(sparse))
        self._next += len(sparse)
        scores = self._given[1][some]
        self._numbers = torch.arange(some.start, some.stop)
        # The mask tokens go through `take`; here their first number tells the prompt.
        masks = tokens.masks.clone()
        masks[:, 0, 0] = self._numbers.to(masks.dtype)
        return DecodedTokens(masks, tokens.source, torch.cat([scores[:, :1], scores], 1))

    def upscale(self, tokens: DecodedTokens, which: slice) -> Tensor:
        with self._timer.part("decode", 0):
            logits = self._decoder.upscale(tokens, which)
        return logits if self._given is None else self._given[0][tokens.masks[:, 0, 0].long()]


def by_reference(
    sam: Sam, image: Pixels, per_side: int, limits: Limits, given: tuple[Tensor, Tensor] | None, timer: Timer
) -> Records:
    """`SamAutomaticMaskGenerator`, its functions timed."""
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=per_side,
        points_per_batch=PROMPTS_AT_ONCE,
        pred_iou_thresh=limits.predicted_iou,
        stability_score_thresh=limits.stability,
        box_nms_thresh=limits.box_overlap,
        output_mode="coco_rle",
    )
    encoder, decoder = type(sam.image_encoder).forward, type(sam.mask_decoder).forward
    position = 0

    def decode(*, sparse_prompt_embeddings: Tensor, **named: Any) -> tuple[Tensor, Tensor]:
        nonlocal position
        count = len(sparse_prompt_embeddings)
        with timer.part("decode", count):
            answer: tuple[Tensor, Tensor] = decoder(
                sam.mask_decoder, sparse_prompt_embeddings=sparse_prompt_embeddings, **named
            )
        some = slice(position, position + count)
        position += count
        scores = answer[1] if given is None else given[1][some]
        timer.counts["masks"] += int((scores > limits.predicted_iou).sum())
        return answer if given is None else (given[0][some].clone(), scores)

    suppress = timer.timed("suppress", automatic_mask_generator.batched_nms)
    sam.image_encoder.forward = timer.timed("encode", lambda *rows: encoder(sam.image_encoder, *rows))
    sam.mask_decoder.forward = decode
    try:
        with (
            patch.object(automatic_mask_generator, "batched_nms", suppress),
            timer.part("everything"),
        ):
            found = generator.generate(image)
    finally:
        del sam.image_encoder.forward, sam.mask_decoder.forward
    return [
        [record["segmentation"]["counts"], record["area"], record["predicted_iou"], record["stability_score"]]
        for record in found
    ]


def by_tercet(
    sam: Sam,
    image: Pixels,
    per_side: int,
    limits: Limits,
    given: tuple[Tensor, Tensor] | None,
    timer: Timer,
    encoder: Callable[[Tensor], Tensor],
    shared: FactorisedDecoder,
) -> Records:
    """What serves, its functions timed."""
    suppress = timer.timed("suppress", suppress_boxes)

    def trace(logits: Tensor, frame: Frame) -> Any:
        with timer.part("trace"):
            timer.counts["masks"] += len(logits)
            return mask_records(logits, frame)

    with (
        patch.object(everything, "suppress_boxes", suppress),
        patch.object(everything, "mask_records", trace),
        timer.part("everything"),
    ):
        side = int(sam.image_encoder.img_size)
        fitted = fit_longest_side(image, side)
        frame = Frame(image.shape[0], image.shape[1], fitted.shape[0], fitted.shape[1], side)
        inputs = sam.preprocess(torch.from_numpy(fitted.copy()).permute(2, 0, 1).float())
        with timer.part("encode"):
            embedding = encoder(inputs[None])[0]
        _, dense = sam.prompt_encoder(points=None, boxes=torch.zeros(1, 4), masks=None)
        decoder = Replacing(shared.for_image(embedding, dense[0]), timer, given)
        points = point_grid(per_side, frame)
        found = segment_everything(sam, decoder, frame, points, limits, PROMPTS_AT_ONCE)
    figures = zip(
        found.records.rles,
        found.records.areas.tolist(),
        found.predicted_iou.tolist(),
        found.records.stability.tolist(),
        strict=True,
    )
    return [[counts.decode(), area, iou, stability] for counts, area, iou, stability in figures]


@torch.inference_mode()
def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["reference", "torch", "openvino"])
    parser.add_argument("--network", choices=sorted(SIZES), required=True)
    parser.add_argument("--precision", choices=["auto", "float32"], default="float32")
    parser.add_argument("--per-side", type=int, required=True)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--substitute", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.substitute:
        sam = REGISTRY[options.network]().eval()
    else:
        sam = load_sam(options.network, NetworkSettings().weights("sam", "weights.safetensors"))
    width, height = SIZES[options.network]
    scene = make_scene(100_000_019, SceneSettings(width=640, height=480, objects=(8, 8)))
    image = np.asarray(Image.fromarray(scene.image).resize((width, height), Image.Resampling.BICUBIC))
    limits = Limits() if options.substitute else Limits(predicted_iou=0.7, stability=0.85)
    side = 4 * int(sam.prompt_encoder.image_embedding_size[0])
    given = substitutes(options.per_side**2, side) if options.substitute else None

    run: Callable[[int, Timer], Records]
    if options.way == "reference":

        def run(per_side: int, timer: Timer) -> Records:
            return by_reference(sam, image, per_side, limits, given, timer)

    else:
        dtype = choose_dtype(options.precision, torch.device("cpu"))
        encoder = make_encoder(options.way, sam, dtype, compiled=False)
        shared = FactorisedDecoder(sam, dtype)
        postprocessing.warm_up()

        def run(per_side: int, timer: Timer) -> Records:
            return by_tercet(sam, image, per_side, limits, given, timer, encoder, shared)

    run(2, Timer())  # memory is touched and code compiled
    timer = Timer()
    began = time.process_time()
    for _ in range(options.repeat):
        records = run(options.per_side, timer)
    processor = time.process_time() - began
    prompts, masks = timer.counts["decode"], max(1, timer.counts["masks"])
    whole = timer.seconds["everything"]
    rest = whole - sum(timer.seconds[part] for part in ("encode", "decode", "suppress"))
    figures = {
        "everything": whole / options.repeat,
        "processor": processor / options.repeat,
        "encode": timer.seconds["encode"] / options.repeat,
        "decode_64": 64 * timer.seconds["decode"] / prompts,
        "post_mask": (timer.seconds["trace"] or rest) / masks,
        "suppress": timer.seconds["suppress"] / options.repeat,
        "masks": masks / options.repeat,
        "records": records,
    }
    json.dump(figures, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Stage 3 as a whole: an image through proposer, segmenter and verifier, by the services' own use-cases.

A pair is RIGHT when the dataset would be right to hold it:

- a positive pair, when its phrase holds for some object of the scene, and its masks (those that mask
  verification keeps) and the objects that the phrase holds for match one to one, none left over on either
  side, each with an IoU of at least `RIGHT_IOU`. The matching is that of greatest total IoU, as in SAM 3's
  evaluator (`services.core.evaluation.matching`). RIGHT_IOU is .75, COCO's strict threshold, which lies
  between the IoU below which the verifier is taught to reject a mask (.7) and that from which on it is taught
  to accept (.8);
- a negative pair, when its phrase holds for no object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from services.core import masks
from services.core.ontology import Ontology
from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import connect as connect_blobs
from services.kit.clock import SystemClock
from services.proposer.handlers import Proposer
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import Sweep
from services.quality.parts import Found
from services.quality.scenes import KnownScene
from services.quality.serving import Models
from services.segmenter.contents import RecentContents
from services.segmenter.handlers import Segmenter
from services.segmenter.settings import SegmenterSettings
from services.segmenter.strategies import concept_segmenter
from services.verifier import domain
from services.verifier.handlers import Verifier
from services.verifier.settings import VerifierSettings
from tercet.v1 import concepts_pb2, records_pb2

RIGHT_IOU = 0.75
HARD_NEGATIVES = 10
"""Hard negatives that a job wants for an image."""

In = TypeVar("In")
Out = TypeVar("Out")


class Pipeline:
    """The three services over the served models; no Kafka, no Redis."""

    def __init__(self, models: Models) -> None:
        clock, words = SystemClock(), Ontology.load()
        images = ImageStore(connect_blobs("memory://quality", attempts=1, clock=clock))
        inference, of_segmenter = models.inference, SegmenterSettings()
        self._models = models
        of_proposer = ProposerSettings()
        self._proposer = Proposer(inference, images, words, Sweep.load(of_proposer.sweep), clock, of_proposer)
        self._segmenter = Segmenter(
            inference=inference,
            concepts=concept_segmenter(inference, clock, of_segmenter),
            images=images,
            contents=RecentContents(images, of_segmenter.click_cache_bytes),
            ontology=words,
            clock=clock,
            settings=of_segmenter,
        )
        of_verifier = VerifierSettings()
        self._verifier = Verifier(
            inference,
            images,
            clock,
            domain.Calibrations.of_points(of_verifier.positive_calibration, of_verifier.negative_calibration),
            of_verifier,
        )
        self._run = records_pb2.Run(
            job_id="quality",
            spec=records_pb2.JobSpec(stage=concepts_pb2.STAGE_AUTOMATIC, hard_negatives=HARD_NEGATIVES),
        )

    @staticmethod
    def settings() -> str:
        """The settings on which the results depend, as text."""
        parts = (SegmenterSettings(), ProposerSettings())
        names = (
            (
                "min_score",
                "min_presence",
                "box_overlap",
                "mask_overlap",
                "phrase_overlap",
                "negative_overlap",
            ),
            ("max_phrases", "negative_factor", "ontology"),
        )
        sweep = Sweep.load(ProposerSettings().sweep).model_dump_json()
        return sweep + repr(
            [[getattr(part, name) for name in of] for part, of in zip(parts, names, strict=True)]
        )

    def measured(self, known: KnownScene) -> Found:
        """The phrases that were proposed and those that hold, and every pair with whether it is right.

        Of a pair: phrase, whether positive, raw score (None: NaN), score, and whether right; of a positive
        one whether its phrase holds, and the least IoU of its matched masks (None: their number is wrong).
        """
        height, width = known.size
        image = records_pb2.Image(
            id=known.digest, tenant="quality", width=width, height=height, inline=known.content
        )
        submitted = records_pb2.ImageSubmitted(image=image, run=self._run)
        proposed = self._costed("proposer", self._proposer.propose, submitted)
        segmented = self._costed("segmenter", self._segmenter.segment, proposed)
        verified = self._costed("verifier", self._verifier.verify, segmented)
        return {
            "proposed": [proposal.phrase for proposal in proposed.phrases],
            "there": list(known.full_phrases),
            "pairs": [_of_pair(known, pair) for pair in verified.pairs],
        }

    def _costed(self, name: str, work: Callable[[In], Out], record: In) -> Out:
        """The service's answer; its own processor time, without the models', is counted."""
        started = time.thread_time()
        done = work(record)
        self._models.costs.add(f"{name} itself", time.thread_time() - started)
        return done


def _of_pair(known: KnownScene, pair: concepts_pb2.Pair) -> dict[str, Any]:
    positive = pair.polarity == concepts_pb2.POLARITY_POSITIVE
    members = known.members(pair.phrase)
    raw = domain.raw_score(pair)
    told: dict[str, Any] = {
        "phrase": pair.phrase,
        "positive": positive,
        "raw": None if np.isnan(raw) else round(raw, 6),
        "score": round(pair.score, 6),
    }
    if not positive:
        return {**told, "right": not members, "fooled": bool(pair.masks)}
    counts = [mask.counts for mask in domain.kept_masks(pair)]
    least = matched_iou(counts, [known.instances[index] for index in members], *known.size)
    return {**told, "right": least is not None and least >= RIGHT_IOU, "there": bool(members), "iou": least}


def matched_iou(found: Sequence[bytes], truth: Sequence[bytes], height: int, width: int) -> float | None:
    """The least IoU of the best one-to-one matching; None where the numbers differ or there is none."""
    if len(found) != len(truth) or not found:
        return None
    overlaps = np.nan_to_num(masks.iou(found, truth, height, width))
    rows, columns = linear_sum_assignment(-overlaps)
    return round(float(overlaps[rows, columns].min()), 4)

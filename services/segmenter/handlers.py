"""What the segmenter does, over its ports. Both doors call this and nothing else.

The way of an image: `segment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core import masks
from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.core.phrases import normalise
from services.kit.blobs.images import ImageStore
from services.kit.clock import Clock
from services.kit.inference.ports import Inference, strings
from services.kit.provenance import made_by
from services.segmenter import domain
from services.segmenter.contents import RecentContents
from services.segmenter.domain import Candidate, Finding
from services.segmenter.settings import SegmenterSettings
from services.segmenter.strategies import SAM, ConceptSegmenter
from tercet.v1 import concepts_pb2, records_pb2, segmenter_pb2

MOST_BOXES = 64
"""Boxes of one call, each of an instance."""


@dataclass(frozen=True)
class Segmenter:
    """The use-cases."""

    inference: Inference
    concepts: ConceptSegmenter
    images: ImageStore
    contents: RecentContents
    ontology: Ontology
    clock: Clock
    settings: SegmenterSettings

    def segment(self, proposed: records_pb2.ImageProposed) -> records_pb2.ImageSegmented:
        """Stage 1: the regions as they are. Stages 2 and 3: phrases and candidates become pairs.

        A phrase with instances is a positive pair. One without is a negative, still to be verified, when
        the caller asked for it; when the model had proposed it, it is a candidate for a hard negative
        (something made the model see it) and competes with the others. Raises `InvalidInput` for an image
        that can never be worked.
        """
        segmented = records_pb2.ImageSegmented(
            image=proposed.image, run=proposed.run, regions=proposed.regions
        )
        if proposed.run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
            return segmented
        proposals = {proposal.phrase: proposal for proposal in proposed.phrases}
        negatives = {n.phrase: n for n in proposed.negatives if n.phrase not in proposals}
        findings = self._find(proposed.image, [*proposals, *negatives])

        positives = self._settled(findings[: len(proposals)])
        candidates: list[tuple[Candidate, Finding]] = []
        for found, proposal in zip(positives, proposals.values(), strict=True):
            if found.masks or proposal.source == concepts_pb2.PHRASE_SOURCE_CALLER:
                segmented.pairs.append(domain.pair(found, proposal))
            else:
                unseen = Candidate(
                    found.phrase, proposal.source, proposal.score, provenance=proposal.provenance
                )
                candidates.append((unseen, found))
        for found, negative in zip(findings[len(proposals) :], negatives.values(), strict=True):
            confusable = Candidate(
                found.phrase, negative.source, negative.score, negative.confused_with, negative.provenance
            )
            candidates.append((confusable, found))
        segmented.pairs.extend(
            domain.hard_negatives(
                candidates,
                [mask for found in positives for mask in found.masks],
                overlap=self.settings.negative_overlap,
                wanted=proposed.run.spec.hard_negatives,
            )
        )
        return segmented

    def segment_concepts(self, image: records_pb2.Image, phrases: Sequence[str]) -> list[concepts_pb2.Pair]:
        """One pair a phrase, in the order asked; a phrase without instances is a pair without masks."""
        asked = [normalise(phrase) for phrase in phrases]
        distinct = list(dict.fromkeys(asked))
        settled = {found.phrase: found for found in self._settled(self._find(image, distinct))}
        source = concepts_pb2.PhraseProposal(source=concepts_pb2.PHRASE_SOURCE_CALLER)
        return [domain.pair(settled[phrase], source) for phrase in asked]

    def segment_prompts(
        self,
        image: records_pb2.Image,
        points: Sequence[segmenter_pb2.Point],
        boxes: Sequence[concepts_pb2.Box],
        mask: concepts_pb2.Mask | None,
    ) -> list[concepts_pb2.Mask]:
        """One instance from clicks, a box and the mask so far, or one for each of several boxes, in order.

        An empty mask where nothing is. Raises `InvalidInput` without any click or box, for clicks or a mask
        beside several boxes, and when the mask so far is not of the image's size.
        """
        if not points and not boxes:
            raise InvalidInput("nothing says where the instance is; send a click or a box")
        if len(boxes) > 1 and (points or mask is not None):
            raise InvalidInput("several boxes are several instances; clicks and a mask go with one at most")
        if len(boxes) > MOST_BOXES:
            raise InvalidInput(f"{len(boxes)} boxes; send at most {MOST_BOXES} at once")
        inputs: dict[str, NDArray[np.generic]] = {"image": strings([self.contents.get(image)])}
        if points:
            inputs["points"] = np.array([(p.x, p.y, float(p.positive)) for p in points], dtype=np.float32)
        if boxes:
            inputs["boxes"] = np.array([(b.x, b.y, b.width, b.height) for b in boxes], dtype=np.float32)
        if mask is not None:
            masks.check(mask.counts, image.height or mask.height, image.width or mask.width)
            inputs["mask_input"] = strings([mask.counts])
        answer = self.inference.infer(SAM, inputs)
        domain.check_size(answer.tensors["size"], image.height, image.width)
        provenance = made_by(answer.model, self.clock)
        height, width = (int(v) for v in answer.tensors["size"])
        empty = concepts_pb2.Mask(
            counts=masks.union([], height, width), height=height, width=width, provenance=provenance
        )
        rows = domain.mask_of_each_prompt(answer.tensors, max(1, len(boxes)))
        return [
            empty if row is None else domain.instance(answer.tensors, row, 0.0, provenance) for row in rows
        ]

    def segment_everything(self, image: records_pb2.Image, points_per_side: int) -> list[concepts_pb2.Mask]:
        """Masks of everything, largest predicted IoU first; `points_per_side` 0: the setting."""
        inputs: dict[str, NDArray[np.generic]] = {"image": strings([self.images.content(image)])}
        if side := points_per_side or self.settings.points_per_side:
            inputs["points_per_side"] = np.array([side], dtype=np.int32)
        answer = self.inference.infer(SAM, inputs)
        domain.check_size(answer.tensors["size"], image.height, image.width)
        provenance = made_by(answer.model, self.clock)
        order = np.argsort(-answer.tensors["predicted_iou"], kind="stable")
        return [domain.instance(answer.tensors, int(at), 0.0, provenance) for at in order]

    def _find(self, image: records_pb2.Image, phrases: Sequence[str]) -> list[Finding]:
        """One finding a phrase; no call for no phrase."""
        found: list[Finding] = []
        content = self.images.content(image) if phrases else b""
        step = self.settings.segmenter_phrases
        for start in range(0, len(phrases), step):
            findings, size = self.concepts.find(content, phrases[start : start + step])
            domain.check_size(np.array(size), image.height, image.width)
            found += findings
        return found

    def _settled(self, findings: Sequence[Finding]) -> list[Finding]:
        return domain.settled(findings, self.ontology.excludes, self.settings.phrase_overlap)

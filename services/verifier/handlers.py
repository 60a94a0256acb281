"""What the verifier does, over its ports. Both doors call this and nothing else.

The way of an image: `verify`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core import masks
from services.core.errors import InvalidInput
from services.core.phrases import normalise
from services.core.scoring import Calibration
from services.kit.blobs.images import ImageStore
from services.kit.clock import Clock
from services.kit.inference.ports import Inference, strings
from services.kit.provenance import made_by
from services.verifier import domain
from services.verifier.settings import VerifierSettings
from tercet.v1 import concepts_pb2, records_pb2

VERIFIER = "verifier"


@dataclass(frozen=True, slots=True)
class Row:
    """Probabilities of one case, who gave them, and the calibrations that came with them, if any."""

    probabilities: NDArray[Any]
    provenance: concepts_pb2.Provenance
    calibrations: domain.Calibrations


Rows = list[Row]
Judged = tuple[concepts_pb2.Pair, domain.Calibrations]


@dataclass(frozen=True)
class Verifier:
    """The use-cases."""

    inference: Inference
    images: ImageStore
    clock: Clock
    calibrations: domain.Calibrations
    """Those of the settings; they win over the model's."""
    settings: VerifierSettings

    def verify(self, segmented: records_pb2.ImageSegmented) -> records_pb2.ImageVerified:
        """Stage 1: the regions as they are. Stages 2 and 3: every pair with judgements, score and verdict.

        Masks of negative pairs are evidence and are not judged. Raises `InvalidInput` for an image that can
        never be worked.
        """
        verified = records_pb2.ImageVerified(
            image=segmented.image, run=segmented.run, regions=segmented.regions
        )
        spec = segmented.run.spec
        if spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
            verified.pairs.extend(segmented.pairs)
            return verified
        content = self.images.content(segmented.image) if segmented.pairs else b""
        positives = [p for p in segmented.pairs if p.polarity != concepts_pb2.POLARITY_NEGATIVE]
        negatives = [p for p in segmented.pairs if p.polarity == concepts_pb2.POLARITY_NEGATIVE]

        # Negatives need nothing of the positives: they are asked about at the same time.
        with ThreadPoolExecutor(1) as beside:
            validity = beside.submit(contextvars.copy_context().run, self._valid, content, negatives)
            judged = self._exhaustive(content, self._with_masks(content, positives))
            judged += validity.result()

        # A spec that names neither comes from another client than the gateway; 0 and 0 accept every pair.
        given = spec.HasField("accept_above") or spec.HasField("reject_below")
        above = spec.accept_above if given else self.settings.accept_above
        below = spec.reject_below if given else self.settings.reject_below
        verified.pairs.extend(
            domain.judged(
                pair,
                self.calibrations.of(pair) or told.of(pair) or Calibration(),
                accept_above=above,
                reject_below=below,
            )
            for pair, told in judged
        )
        return verified

    def verify_masks(
        self, image: records_pb2.Image, pairs: Sequence[concepts_pb2.Pair]
    ) -> list[concepts_pb2.Pair]:
        """The pairs with every mask judged alone, against its phrase."""
        return self._with_masks(self.images.content(image), _checked(image, pairs))

    def verify_exhaustivity(
        self, image: records_pb2.Image, pairs: Sequence[concepts_pb2.Pair]
    ) -> list[concepts_pb2.Pair]:
        """The pairs with exhaustivity, judged on their accepted masks, possibly none."""
        content = self.images.content(image)
        return [pair for pair, _ in self._exhaustive(content, _checked(image, pairs))]

    def verify_negatives(
        self, image: records_pb2.Image, phrases: Sequence[str]
    ) -> list[concepts_pb2.NegativeVerification]:
        """How probable it is that each phrase is absent."""
        asked = [normalise(phrase) for phrase in phrases]
        return [verification for verification, _ in self._absent(self.images.content(image), asked)]

    def _with_masks(self, content: bytes, pairs: Iterable[concepts_pb2.Pair]) -> list[concepts_pb2.Pair]:
        found = _copies(pairs)
        cases = [(pair.phrase, mask) for pair in found for mask in pair.masks]

        def ask(part: Sequence[tuple[str, concepts_pb2.Mask]]) -> Rows:
            phrases = list(dict.fromkeys(phrase for phrase, _ in part))
            index = [phrases.index(phrase) for phrase, _ in part]
            return self._ask("mv", content, phrases, [mask.counts for _, mask in part], index)

        rows = _in_parts(cases, self.settings.verifier_masks, ask)
        for (_, mask), row in zip(cases, rows, strict=True):
            mask.verification.CopyFrom(domain.mask_verification(row.probabilities, row.provenance))
        return found

    def _exhaustive(self, content: bytes, pairs: Iterable[concepts_pb2.Pair]) -> list[Judged]:
        """The pairs with exhaustivity."""
        found = _copies(pairs)

        def ask(part: Sequence[concepts_pb2.Pair]) -> Rows:
            seen = [(at, mask.counts) for at, pair in enumerate(part) for mask in domain.kept_masks(pair)]
            phrases = [pair.phrase for pair in part]
            return self._ask("ev", content, phrases, [rle for _, rle in seen], [at for at, _ in seen])

        rows = _in_parts(found, self.settings.verifier_phrases, ask)
        for pair, row in zip(found, rows, strict=True):
            pair.exhaustivity.CopyFrom(domain.exhaustivity_verification(row.probabilities, row.provenance))
        return [(pair, row.calibrations) for pair, row in zip(found, rows, strict=True)]

    def _valid(self, content: bytes, pairs: Iterable[concepts_pb2.Pair]) -> list[Judged]:
        """The pairs with negative validity."""
        found = _copies(pairs)
        absent = self._absent(content, [pair.phrase for pair in found])
        for pair, (verification, _) in zip(found, absent, strict=True):
            pair.negative.CopyFrom(verification)
        return [(pair, told) for pair, (_, told) in zip(found, absent, strict=True)]

    def _absent(
        self, content: bytes, phrases: Sequence[str]
    ) -> list[tuple[concepts_pb2.NegativeVerification, domain.Calibrations]]:
        rows = _in_parts(
            phrases, self.settings.verifier_phrases, lambda part: self._ask("nv", content, part, [], [])
        )
        return [
            (domain.negative_verification(row.probabilities, row.provenance), row.calibrations)
            for row in rows
        ]

    def _ask(
        self, task: str, content: bytes, phrases: Sequence[str], rles: Sequence[bytes], index: Sequence[int]
    ) -> Rows:
        """One model call: the probabilities of every mask (mv) or every phrase (ev, nv)."""
        answer = self.inference.infer(
            VERIFIER,
            {
                "image": strings([content]),
                "task": strings([task]),
                "phrases": strings(phrases),
                "rles": strings(rles),
                "phrase_index": np.array(index, dtype=np.int32),
            },
        )
        provenance = made_by(answer.model, self.clock)
        told = domain.Calibrations.told(answer.tensors)
        return [Row(row, provenance, told) for row in answer.tensors["probabilities"]]


def _in_parts(cases: Sequence[Any], size: int, ask: Callable[[Sequence[Any]], Rows]) -> Rows:
    """The rows of all the cases, asked for in parts of at most `size`; no call for no case."""
    return [row for start in range(0, len(cases), size) for row in ask(cases[start : start + size])]


def _copies(pairs: Iterable[concepts_pb2.Pair]) -> list[concepts_pb2.Pair]:
    copies = []
    for pair in pairs:
        copy = concepts_pb2.Pair()
        copy.CopyFrom(pair)
        copies.append(copy)
    return copies


def _checked(image: records_pb2.Image, pairs: Sequence[concepts_pb2.Pair]) -> Sequence[concepts_pb2.Pair]:
    """The pairs of a caller. Raises `InvalidInput` for a mask that is not of the image's size."""
    for pair in pairs:
        if not pair.phrase:
            raise InvalidInput("a pair has no phrase; send the noun phrase that its masks show")
        for mask in pair.masks:
            masks.check(mask.counts, image.height or mask.height, image.width or mask.width)
    return pairs

"""What the proposer does, over its ports. Both doors call this and nothing else.

The way of an image: `propose`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.core.phrases import normalise_all
from services.kit.blobs.images import ImageStore
from services.kit.clock import Clock
from services.kit.inference.ports import Answer, Inference, Tensors, strings
from services.kit.provenance import made_by
from services.proposer import domain
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import Sweep, presences
from tercet.v1 import concepts_pb2, records_pb2

SAM = "sam"
CONCEPT_PROPOSER = "concept_proposer"
CONCEPT_GROUNDER = "concept_grounder"
MODEL_NEGATIVES = 100
"""Most hard negatives that the model may be asked for; the ontology gives the rest."""


@dataclass(frozen=True)
class Proposer:
    """The use-cases."""

    inference: Inference
    images: ImageStore
    ontology: Ontology
    sweep: Sweep
    clock: Clock
    settings: ProposerSettings

    def propose(self, submitted: records_pb2.ImageSubmitted) -> records_pb2.ImageProposed:
        """Stage 1: regions. Stages 2 and 3: phrases, the caller's own where the job has any, and hard
        negatives.

        Raises `InvalidInput` for an image or a job that can never be worked.
        """
        spec = submitted.run.spec
        proposed = records_pb2.ImageProposed(image=submitted.image, run=submitted.run)
        own = domain.caller_phrases(spec.phrases, concepts_pb2.Provenance(made_at=submitted.run.submitted_at))
        if spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
            proposed.regions.extend(self.propose_regions(submitted.image))
            proposed.phrases.extend(own)
        elif spec.stage in (concepts_pb2.STAGE_SEMI_AUTOMATIC, concepts_pb2.STAGE_AUTOMATIC):
            wanted = math.ceil(spec.hard_negatives * self.settings.negative_factor)
            if own and not wanted:
                proposed.phrases.extend(own)
                return proposed
            answer = self._concepts(submitted.image, self.settings.max_phrases, wanted)
            seen = self._phrases(submitted.image, answer, self.settings.max_phrases)
            proposed.phrases.extend(own or seen)
            if wanted:
                targets = [proposal.phrase for proposal in proposed.phrases]
                present = [*targets, *(proposal.phrase for proposal in seen)]
                proposed.negatives.extend(self._negatives(answer, targets, present, wanted))
        else:
            raise InvalidInput(f"the job's stage {spec.stage} is not known")
        return proposed

    def propose_regions(self, image: records_pb2.Image) -> list[concepts_pb2.Region]:
        """Class-agnostic regions, best first."""
        answer = self.inference.infer(SAM, self._input(image))
        return domain.regions(
            answer.tensors,
            made_by(answer.model, self.clock),
            overlap=self.settings.region_overlap,
            min_area=self.settings.region_min_area,
            max_area=self.settings.region_max_area,
            limit=self.settings.max_regions,
        )

    def propose_concepts(
        self, image: records_pb2.Image, max_phrases: int
    ) -> list[concepts_pb2.PhraseProposal]:
        """The image's phrases, normalised and without repeats, best first; `max_phrases` 0: the setting."""
        limit = max_phrases or self.settings.max_phrases
        return self._phrases(image, self._concepts(image, limit, 0), limit)

    def propose_hard_negatives(
        self, image: records_pb2.Image, present: Sequence[str], max_negatives: int
    ) -> list[concepts_pb2.NegativeProposal]:
        """Phrases that look right and are absent, most confusable first; `max_negatives` 0: the setting.

        Neither the phrases given as present nor those that the model sees, nor a synonym or hypernym of
        one, are among them.
        """
        limit = max_negatives or self.settings.max_negatives
        answer = self._concepts(image, self.settings.max_phrases, limit)
        seen = [proposal.phrase for proposal in self._phrases(image, answer, self.settings.max_phrases)]
        given = normalise_all(present)
        return self._negatives(answer, given or seen, [*given, *seen], limit)

    def _concepts(self, image: records_pb2.Image, max_phrases: int, max_negatives: int) -> Answer:
        limits = {
            "max_phrases": np.array([max_phrases], dtype=np.int32),
            "max_negatives": np.array([min(max_negatives, MODEL_NEGATIVES)], dtype=np.int32),
        }
        return self.inference.infer(CONCEPT_PROPOSER, {**self._input(image), **limits})

    def _phrases(
        self, image: records_pb2.Image, answer: Answer, limit: int
    ) -> list[concepts_pb2.PhraseProposal]:
        """The phrases that the model wrote, joined with the sweep where there is one for these models."""
        written = domain.model_phrases(answer.tensors, made_by(answer.model, self.clock))
        if not self.sweep.phrases or not self.sweep.fits(answer.model):
            return written[:limit]
        scores = {proposal.phrase: proposal.score for proposal in written}
        asked = self.sweep.asked(scores)
        # No box scores above 1: presence is all that is wanted.
        question = {**self._input(image), "phrases": strings(asked), "threshold": np.ones(1, np.float32)}
        told = self.inference.infer(CONCEPT_GROUNDER, question)
        if not self.sweep.fits(told.model):
            return written[:limit]
        return domain.swept_phrases(
            written,
            self.sweep.join(
                scores,
                presences(asked, told.tensors["presence"].tolist()),
                self.ontology,
            ),
            made_by(told.model, self.clock),
        )[:limit]

    def _negatives(
        self, answer: Answer, targets: Sequence[str], present: Sequence[str], limit: int
    ) -> list[concepts_pb2.NegativeProposal]:
        """Of both sources: the model and, for the targets, the ontology."""
        ours = concepts_pb2.ModelVersion(name="ontology", weights=f"ontology-{self.ontology.digest[:8]}")
        candidates = [
            *domain.model_negatives(
                answer.tensors, targets, self.ontology, made_by(answer.model, self.clock)
            ),
            *domain.ontology_negatives(targets, self.ontology, made_by(ours, self.clock)),
        ]
        return domain.hard_negatives(candidates, present, self.ontology, limit=limit)

    def _input(self, image: records_pb2.Image) -> Tensors:
        return {"image": strings([self.images.content(image)])}

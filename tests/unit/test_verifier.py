"""The verifier: judgements, scores and verdicts, by its handlers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from services.core import masks
from services.core.errors import Internal, InvalidInput
from services.core.scoring import Calibration
from services.kit.inference.ports import Answer, Inference, Tensors
from services.verifier import domain
from services.verifier.handlers import Verifier
from services.verifier.settings import VerifierSettings
from tercet.v1 import concepts_pb2, records_pb2
from tests.support.stage_models import SIZE, Sight, image_of, picture, run_of, stage_ports

SCENE = picture([("red bus", (4, 8, 20, 30)), ("red bus", (30, 8, 20, 30)), ("blue car", (60, 40, 20, 15))])
LEFT, RIGHT, CAR = (4, 8, 20, 30), (30, 8, 20, 30), (60, 40, 20, 15)
Rectangle = tuple[int, int, int, int]


def verifier(sight: Sight | None = None, **settings: object) -> Verifier:
    ports = stage_ports(sight or Sight())
    parsed = VerifierSettings(**settings)  # type: ignore[arg-type]
    return Verifier(
        inference=ports.inference,
        images=ports.images,
        clock=ports.clock,
        calibrations=domain.Calibrations.of_points(parsed.positive_calibration, parsed.negative_calibration),
        settings=parsed,
    )


def mask(rectangle: Rectangle) -> concepts_pb2.Mask:
    x, y, w, h = rectangle
    pixels = np.zeros(SIZE, dtype=np.bool_)
    pixels[y : y + h, x : x + w] = True
    return concepts_pb2.Mask(
        counts=masks.encode(pixels), height=SIZE[0], width=SIZE[1], area=int(pixels.sum())
    )


def positive(phrase: str, *rectangles: Rectangle) -> concepts_pb2.Pair:
    return concepts_pb2.Pair(
        phrase=phrase, polarity=concepts_pb2.POLARITY_POSITIVE, masks=[mask(r) for r in rectangles]
    )


def negative(phrase: str) -> concepts_pb2.Pair:
    return concepts_pb2.Pair(phrase=phrase, polarity=concepts_pb2.POLARITY_NEGATIVE, hard_negative=True)


def verified(
    *pairs: concepts_pb2.Pair,
    sight: Sight | None = None,
    settings: dict[str, object] | None = None,
    **spec: object,
) -> list[concepts_pb2.Pair]:
    record = records_pb2.ImageSegmented(
        image=image_of(SCENE), run=run_of(concepts_pb2.STAGE_AUTOMATIC, **spec), pairs=pairs
    )
    return list(verifier(sight, **settings or {}).verify(record).pairs)


def test_a_complete_pair_is_accepted() -> None:
    (pair,) = verified(positive("red bus", LEFT, RIGHT))
    assert pair.verdict == concepts_pb2.VERDICT_ACCEPT
    assert pair.exhaustive
    assert pair.score == pytest.approx(0.98 * 0.97, abs=1e-6)
    assert pair.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT
    assert len(pair.exhaustivity.probabilities) == 6
    for found in pair.masks:
        assert found.verification.choice == concepts_pb2.MASK_CHOICE_ACCEPT
        assert len(found.verification.probabilities) == 5
        assert found.verification.provenance.model.name == "verifier"
        assert found.verification.provenance.made_at.seconds == 1_700_000_000


def test_a_missing_instance_is_rejected() -> None:
    (pair,) = verified(positive("red bus", LEFT))
    assert pair.verdict == concepts_pb2.VERDICT_REJECT
    assert pair.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_REJECT
    assert not pair.exhaustive


def test_a_rejected_mask_is_not_shown_to_exhaustivity_and_stays_for_the_person() -> None:
    (pair,) = verified(positive("red bus", LEFT, CAR))
    assert pair.verdict == concepts_pb2.VERDICT_REJECT
    assert [m.verification.choice for m in pair.masks] == [
        concepts_pb2.MASK_CHOICE_ACCEPT,
        concepts_pb2.MASK_CHOICE_REJECT,
    ]


def test_an_accepted_pair_holds_only_kept_masks() -> None:
    (pair,) = verified(positive("red bus", LEFT, CAR, RIGHT))
    assert pair.verdict == concepts_pb2.VERDICT_ACCEPT
    assert [m.counts for m in pair.masks] == [mask(LEFT).counts, mask(RIGHT).counts]


def test_a_positive_of_which_no_mask_is_kept_is_worth_nothing() -> None:
    (pair,) = verified(positive("car", CAR), sight=Sight(bad_masks=frozenset({"car"})))
    assert (pair.score, pair.verdict) == (0.0, concepts_pb2.VERDICT_REJECT)
    assert len(pair.masks) == 1


def test_negatives_are_judged_by_absence() -> None:
    absent, present = verified(negative("cat"), negative("blue car"))
    assert absent.verdict == concepts_pb2.VERDICT_ACCEPT
    assert absent.score == absent.negative.absent == pytest.approx(0.97)
    assert absent.exhaustive
    assert absent.negative.provenance.model.name == "verifier"
    assert present.verdict == concepts_pb2.VERDICT_REJECT


def test_evidence_of_a_negative_stays_unjudged() -> None:
    pair = negative("red van")
    pair.masks.append(mask(LEFT))
    (found,) = verified(pair)
    assert found.verdict == concepts_pb2.VERDICT_ACCEPT
    assert len(found.masks) == 1
    assert not found.masks[0].HasField("verification")


def test_what_cannot_be_judged_goes_to_a_person_without_nan_in_the_record() -> None:
    (pair,) = verified(positive("red bus", LEFT, RIGHT), sight=Sight(nan=frozenset({"red bus"})))
    assert (pair.verdict, pair.score) == (concepts_pb2.VERDICT_REVIEW, 0.0)
    assert pair.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_UNSPECIFIED
    assert not pair.exhaustivity.probabilities
    row = np.array([np.nan, 0.5])
    unsure = negative("cat")
    unsure.negative.CopyFrom(domain.negative_verification(row, concepts_pb2.Provenance()))
    judged = domain.judged(unsure, Calibration(), accept_above=0.9, reject_below=0.7)
    assert judged.verdict == concepts_pb2.VERDICT_REVIEW
    assert not math.isnan(judged.negative.absent)


def test_the_jobs_thresholds_decide_and_the_services_where_it_has_none() -> None:
    (strict,) = verified(positive("red bus", LEFT, RIGHT), accept_above=0.99, reject_below=0.97)
    assert strict.verdict == concepts_pb2.VERDICT_REJECT
    (middle,) = verified(positive("red bus", LEFT, RIGHT), accept_above=0.99, reject_below=0.5)
    assert middle.verdict == concepts_pb2.VERDICT_REVIEW
    (none,) = verified(positive("red bus", LEFT))
    assert none.verdict == concepts_pb2.VERDICT_REJECT


def test_thresholds_of_0_are_thresholds() -> None:
    (everything,) = verified(positive("red bus", LEFT), accept_above=0.0, reject_below=0.0)
    assert everything.verdict == concepts_pb2.VERDICT_ACCEPT
    (lower,) = verified(positive("red bus", LEFT), accept_above=0.0)
    assert lower.verdict == concepts_pb2.VERDICT_ACCEPT


def test_scores_are_calibrated_by_polarity() -> None:
    settings: dict[str, object] = {"negative_calibration": ((0.0, 0.0), (0.97, 0.5), (1.0, 0.6))}
    pair, absent = verified(positive("red bus", LEFT, RIGHT), negative("cat"), settings=settings)
    assert pair.score == pytest.approx(0.9506, abs=1e-4)
    assert absent.score == pytest.approx(0.5, abs=1e-6)


@dataclass(frozen=True)
class Told:
    """Inference whose verifier tells a calibration with every answer."""

    real: Inference
    tables: dict[str, list[list[float]]]

    def infer(self, model: str, inputs: Tensors) -> Answer:
        answer = self.real.infer(model, inputs)
        told = {
            f"{side}_calibration": np.array(table, dtype=np.float32) for side, table in self.tables.items()
        }
        return replace(answer, tensors={**answer.tensors, **told})

    def ready(self, model: str) -> bool:
        return self.real.ready(model)

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        return self.real.models()

    def close(self) -> None:
        self.real.close()


TABLES = {"positive": [[0.0, 0.1], [1.0, 0.3]], "negative": [[0.0, 0.2], [0.97, 0.8], [1.0, 0.9]]}


def _told(tables: dict[str, list[list[float]]], **settings: object) -> list[float]:
    service = verifier(None, **settings)
    service = replace(service, inference=Told(service.inference, tables))
    record = records_pb2.ImageSegmented(image=image_of(SCENE), run=run_of(concepts_pb2.STAGE_AUTOMATIC))
    record.pairs.extend([positive("red bus", LEFT, RIGHT), negative("cat")])
    return [pair.score for pair in service.verify(record).pairs]


def test_the_verifier_tells_its_own_calibration() -> None:
    there, absent = _told(TABLES)
    assert there == pytest.approx(0.1 + 0.2 * 0.9506, abs=1e-4)
    assert absent == pytest.approx(0.8, abs=1e-4)


def test_the_setting_wins_over_what_the_verifier_tells() -> None:
    there, absent = _told(TABLES, positive_calibration=((0.0, 0.0), (1.0, 1.0)))
    assert there == pytest.approx(0.9506, abs=1e-4)
    assert absent == pytest.approx(0.8, abs=1e-4)


def test_a_calibration_that_is_none_is_the_models_fault_not_the_images() -> None:
    with pytest.raises(Internal, match="calibration"):
        _told({"positive": [[0.5, 0.9], [0.2, 0.1]], "negative": []})


def test_stage_1_passes_untouched() -> None:
    record = records_pb2.ImageSegmented(image=image_of(SCENE), run=run_of(concepts_pb2.STAGE_ASSISTED_MANUAL))
    record.regions.add().box.width = 3
    record.pairs.add().phrase = "bus"
    found = verifier().verify(record)
    assert (found.regions, found.pairs) == (record.regions, record.pairs)


def test_many_masks_and_phrases_take_several_calls_with_the_same_answers() -> None:
    pairs = [positive("red bus", LEFT, RIGHT), positive("car", CAR), negative("cat"), negative("dog")]
    small: dict[str, object] = {"verifier_masks": 1, "verifier_phrases": 1}
    assert verified(*pairs, settings=small) == verified(*pairs)


def test_the_interactive_calls() -> None:
    service = verifier()
    image = image_of(SCENE)
    (pair,) = service.verify_masks(image, [positive("red bus", LEFT, CAR)])
    assert [m.verification.choice for m in pair.masks] == [1, 5]
    (whole,) = service.verify_exhaustivity(image, [positive("red bus", LEFT, RIGHT)])
    assert whole.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT
    (none,) = service.verify_exhaustivity(image, [positive("red bus")])
    assert none.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_REJECT
    assert [round(v.absent, 2) for v in service.verify_negatives(image, ["The cats", "bus"])] == [0.97, 0.03]


def test_masks_of_another_size_and_pairs_without_a_phrase_are_refused() -> None:
    wrong = positive("bus")
    wrong.masks.append(
        concepts_pb2.Mask(counts=masks.encode(np.ones((2, 2), dtype=np.bool_)), height=2, width=2)
    )
    with pytest.raises(InvalidInput, match="pixels"):
        verifier().verify_masks(image_of(SCENE), [wrong])
    with pytest.raises(InvalidInput, match="no phrase"):
        verifier().verify_exhaustivity(image_of(SCENE), [concepts_pb2.Pair()])

"""The figures of an evaluation: cases computed by hand, and pycocotools as reference."""

from __future__ import annotations

import contextlib
import io
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.ndimage import binary_erosion

from services.core import masks
from services.core.errors import InvalidInput
from services.core.evaluation import EvaluationSettings, Pair, PairSet, evaluate
from services.core.evaluation.alignment import align
from services.core.evaluation.boundary import band, boundary_iou, distance
from services.core.evaluation.figures import figures
from services.core.evaluation.saco import document
from services.core.evaluation.tallies import tally
from tests.support.annotated_pairs import (
    HEIGHT,
    POINTS_ONLY,
    WIDTH,
    judged,
    pair,
    pairs,
    rectangle,
    scored,
    value,
)

A, B, C = rectangle(0, 0, 2, 5), rectangle(4, 0, 1, 8), rectangle(10, 10, 3, 3)
B_IN_PART = rectangle(4, 0, 1, 5)  # IoU with B: 5 / 8
ELSEWHERE = rectangle(15, 15, 4, 4)

TRUTH = pairs(pair(1, A, B), pair(2), pair(3), pair(4, C), pair(5, A))
PREDICTION = pairs(
    pair(
        1,
        *scored([A], 0.9),
        *scored([B_IN_PART], 0.8),
        *scored([ELSEWHERE], 0.7),
        *scored([C], 0.49),
    ),
    pair(2, *scored([ELSEWHERE], 0.5)),
    pair(3),
    pair(4),
    pair(5, *scored([A], 1.0)),
)


# At tau .5, .55 and .6 three matches are hits (A, B in part, A), at the seven others two. Of five masks
# scored at least .5 one is on an absent phrase; there are four true masks.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pmF1", 0.3 * 3 / 4 + 0.7 * 2 / 4),
        ("pmF1@0.5", 3 / 4),
        ("pmF1@0.75", 2 / 4),
        ("positive_micro_precision", 0.3 * 3 / 4 + 0.7 * 2 / 4),
        ("precision", 0.3 * 3 / 5 + 0.7 * 2 / 5),
        ("recall", 0.3 * 3 / 4 + 0.7 * 2 / 4),
        ("F1", 0.3 * 6 / 9 + 0.7 * 4 / 9),
        ("positive_macro_F1", 0.3 * (4 / 5 + 1) / 2 + 0.7 * (2 / 5 + 1) / 2),
        ("IL_MCC", 1 / 6),
        ("cgF1", 0.575 / 6),
        ("cgF1@0.5", 0.75 / 6),
        ("IL_precision", 2 / 3),
        ("IL_recall", 2 / 3),
        ("IL_F1", 2 / 3),
        ("IL_FPR", 1 / 2),
        ("presence_accuracy", 3 / 5),
        ("presence_balanced_accuracy", (2 / 3 + 1 / 2) / 2),
        ("mask_IoU", (1 + 5 / 8 + 1) / 3),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    assert value(judged(PREDICTION, TRUTH), name) == pytest.approx(expected, abs=1e-12)


def test_counts() -> None:
    scores = judged(PREDICTION, TRUTH)
    assert (scores.pairs, scores.positives, scores.negatives, scores.images) == (5, 3, 2, 5)
    assert (scores.true_masks, scores.predicted_masks) == (4, 5)
    assert scores.by_tau["pmF1"] == pytest.approx([0.75] * 3 + [0.5] * 7)


def test_matching_is_the_best_of_all_not_the_first_come() -> None:
    left, right = rectangle(0, 0, 2, 20), rectangle(0, 4, 2, 20)
    between, near_right = rectangle(0, 3, 2, 20), rectangle(0, 6, 2, 18)
    ious = masks.iou([between.counts, near_right.counts], [left.counts, right.counts], HEIGHT, WIDTH)
    assert ious == pytest.approx(np.array([[17 / 23, 19 / 21], [14 / 24, 18 / 20]]))
    predicted = pairs(pair(1, *scored([between], 0.9), *scored([near_right], 0.6)))
    # By score `between` would take the right one, and leave 14/24 for the other; best in sum is 17/23, 18/20.
    scores = judged(predicted, pairs(pair(1, left, right)))
    assert scores.by_tau["recall"] == pytest.approx([1.0] * 5 + [0.5] * 4 + [0.0])


def test_one_class_only_gives_no_credit() -> None:
    positives = pairs(pair(1, A), pair(2, B))
    scores = judged(positives, positives)
    assert (value(scores, "pmF1"), value(scores, "IL_MCC"), value(scores, "cgF1")) == (1.0, 0.0, 0.0)
    negatives = pairs(pair(1), pair(2))
    scores = judged(negatives, negatives)
    assert (value(scores, "pmF1"), value(scores, "IL_MCC"), value(scores, "cgF1")) == (0.0, 0.0, 0.0)
    assert value(scores, "presence_accuracy") == value(scores, "presence_balanced_accuracy") == 1.0
    assert scores.figures["AP"].value is scores.figures["boundary_IoU"].value is None


def test_only_pairs_that_every_annotator_has_exhaustively_count() -> None:
    first = pairs(pair(1, A), pair(2), pair(3, B, exhaustive=False), pair(4))
    second = pairs(pair(1, A), pair(2), pair(3, B), pair(4, exhaustive=False))
    report = evaluate(pairs(pair(1, A), pair(2), pair(3), pair(4, A)), [first, second], POINTS_ONLY)
    assert (report.overall.pairs, report.not_exhaustive, report.annotators) == (2, 2, 2)
    assert report.overall.figures["cgF1"].value == 1.0


def test_the_oracle_takes_the_annotator_that_agrees_best() -> None:
    careless = pairs(pair(1, A), pair(2, C), pair(3), pair(4, C))
    careful = pairs(pair(1, A, B), pair(2), pair(3, A), pair(4, C))
    predicted = pairs(pair(1, A, B), pair(2), pair(3, A), pair(4))
    for golds in ([careless, careful], [careful, careless]):
        scores = evaluate(predicted, golds, POINTS_ONLY).overall
        # Pair 1 by `careful`, 2 as absent, 3 by `careful`, 4 missed by either.
        assert (scores.positives, scores.true_masks) == (3, 4)
        assert value(scores, "recall") == pytest.approx(3 / 4)
        assert value(scores, "IL_MCC") == pytest.approx((2 * 1 - 0) / np.sqrt(2 * 3 * 1 * 2))
    assert value(judged(predicted, careless), "recall") == pytest.approx(1 / 3)


def test_crowds_are_no_instances() -> None:
    crowd = rectangle(0, 0, 10, 10, crowd=True)
    scores = judged(pairs(pair(1, *scored([A], 0.9)), pair(2)), pairs(pair(1, crowd, C), pair(2)))
    assert (scores.true_masks, value(scores, "precision")) == (1, 0.0)


def test_a_mask_without_a_score_counts_as_certain() -> None:
    stated, weak = pairs(pair(1, A), pair(2)), pairs(pair(1, *scored([A], 0.4)), pair(2))
    assert value(judged(stated, TRUTH_OF_TWO), "cgF1") == 1.0
    assert value(judged(weak, TRUTH_OF_TWO), "cgF1") == 0.0
    lenient = evaluate(weak, [TRUTH_OF_TWO], EvaluationSettings(threshold=0.4, resamples=0))
    assert value(lenient.overall, "cgF1") == 1.0


TRUTH_OF_TWO = pairs(pair(1, A), pair(2))


def test_calibration_of_stated_presence_and_of_whole_pairs() -> None:
    predicted = pairs(
        pair(1, A, presence=0.95, quality=0.85),  # present; right
        pair(2, presence=0.05, quality=0.81),  # absent; right
        pair(3, A, presence=0.93, quality=0.89),  # absent; wrong
        pair(4, B_IN_PART, B, presence=0.5),  # present; one mask too many, and no score
    )
    scores = judged(predicted, pairs(pair(1, A), pair(2), pair(3), pair(4, B)))
    presence = (abs(0.95 + 0.93 - 1) + 0.05 + abs(0.5 - 1)) / 4
    assert value(scores, "ECE_presence") == pytest.approx(presence)
    assert value(scores, "ECE_pairs") == pytest.approx(abs(0.85 + 0.81 + 0.89 - 2) / 3)
    assert scores.figures["ECE_masks"].value is None, "masks without scores say nothing of calibration"


def test_calibration_of_mask_scores_and_of_the_presence_that_they_imply() -> None:
    scores = judged(PREDICTION, TRUTH)
    masks_ = (abs(0.9 - 1) + abs(0.8 - 1) + abs(0.7 - 0) + abs(0.49 - 0) + abs(0.5 - 0) + 0) / 6
    # .9 and 1 share the last bin, where all are right.
    assert value(scores, "ECE_masks") == pytest.approx(masks_)
    presence = (abs(0.9 - 1 + 1.0 - 1) + abs(0.5 - 0) + abs(0.0 + 0.0 - 1)) / 5
    assert value(scores, "ECE_presence") == pytest.approx(presence)


def test_boundary_iou_by_hand() -> None:
    assert distance(HEIGHT, WIDTH) == 1
    first, shifted = rectangle(5, 5, 6, 6), rectangle(5, 6, 6, 6)
    # Two rings of 20 pixels; they share five pixels of the upper side and five of the lower.
    assert boundary_iou(first.counts, shifted.counts, HEIGHT, WIDTH) == pytest.approx(10 / 30)


@pytest.mark.parametrize("seed", range(8))
def test_bands_are_what_repeated_erosion_takes_away(seed: int) -> None:
    random_ = np.random.default_rng(seed)
    mask: NDArray[np.bool_] = binary_erosion(random_.random((60, 80)) < 0.97, iterations=1)
    mask[:, :20] = True
    d = int(random_.integers(1, 5))
    eroded = binary_erosion(np.pad(mask, 1), np.ones((3, 3)), iterations=d)[1:-1, 1:-1]
    assert np.array_equal(band(mask, d), mask & ~eroded)


def test_masks_thinner_than_the_band_are_all_boundary() -> None:
    height, width = 200, 300
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[50:60, 50:150] = True
    half = mask.copy()
    half[:, 100:] = False
    assert 2 * distance(height, width) + 1 > 10
    found = boundary_iou(masks.encode(mask), masks.encode(half), height, width)
    assert found == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(12))
def test_average_precision_is_cocos(seed: int) -> None:
    truth, prediction = noisy(seed)
    scores = judged(prediction, truth)
    expected = coco_stats(truth, prediction)
    found = [scores.figures[name].value for name in ("AP", "AP@0.5", "AP@0.75")]
    assert found == pytest.approx(expected, abs=1e-12)


def noisy(seed: int) -> tuple[PairSet, PairSet]:
    """Truth with crowds, and predictions that are shifted, doubled, missing or wrong, with tied scores."""
    chance = random.Random(seed)
    truths: list[Pair] = []
    predictions: list[Pair] = []
    for number in range(1, 25):
        boxes = [
            (chance.randrange(14), chance.randrange(18), chance.randint(2, 6), chance.randint(2, 6))
            for _ in range(chance.randrange(5))
        ]
        truths.append(pair(number, *(rectangle(*box, crowd=chance.random() < 0.1) for box in boxes)))
        said = [box for box in boxes for _ in range(chance.choice([0, 1, 1, 1, 2]))]
        said += [(12, 12, 3, 4)] * chance.randrange(2)
        predictions.append(
            pair(
                number,
                *(
                    rectangle(top, left + chance.randrange(2), h, w, chance.randrange(11) / 10)
                    for top, left, h, w in said
                ),
            )
        )
    return pairs(*truths), pairs(*predictions)


def coco_stats(truth: PairSet, prediction: PairSet) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO()
        gold.dataset = document(truth)
        gold.createIndex()
        results = document(prediction)["annotations"]
        reference = COCOeval(gold, gold.loadRes(results), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    return [float(stat) for stat in reference.stats[:3]]


def test_intervals_hold_the_value_and_are_the_seeds() -> None:
    truth, prediction = noisy(3)
    first, again = (evaluate(prediction, [truth], EvaluationSettings(resamples=200)) for _ in range(2))
    other = evaluate(prediction, [truth], EvaluationSettings(resamples=200, seed=1))
    assert first == again
    assert first.overall.figures["pmF1"] != other.overall.figures["pmF1"]
    for name in ("pmF1", "IL_MCC", "AP", "boundary_IoU", "ECE_masks"):
        figure = first.overall.figures[name]
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < figure.high
        if not name.startswith("ECE"):  # whose resamples are biased upwards
            assert figure.low <= figure.value <= figure.high


def test_resampled_figures_are_those_of_repeated_pairs() -> None:
    truth, tied = noisy(5)
    # COCO breaks ties of scores by order, which repetition changes.
    step = iter(range(1000))
    prediction = replace(
        tied,
        pairs=tuple(
            replace(
                one, instances=tuple(replace(mask, score=1 - next(step) / 1000) for mask in one.instances)
            )
            for one in tied.pairs
        ),
    )
    tallies = tally(align(prediction, [truth]).pairs, 0.5)
    times = np.random.default_rng(0).integers(0, 3, len(tallies))
    weighted = figures(tallies, times[None].astype(np.float64))

    def repeated(side: PairSet) -> PairSet:
        rows = zip(side.pairs, times, strict=True)
        return pairs(*(replace(one, id=f"{one.id}, {i}") for one, n in rows for i in range(n)))

    for name, figure in judged(repeated(prediction), repeated(truth)).figures.items():
        expected = math.nan if figure.value is None else figure.value
        assert weighted[name][0] == pytest.approx(expected, abs=1e-12, nan_ok=True), name


def test_images_are_drawn_with_all_their_pairs() -> None:
    # Of one image alone there is no telling how another would be.
    one_image = pairs(pair(1, A, image=7), pair(2, image=7))
    figure = evaluate(one_image, [one_image]).overall.figures["cgF1"]
    assert (figure.value, figure.low, figure.high) == (1.0, None, None)


def test_each_phrase_is_judged_by_its_own_pairs() -> None:
    truth = pairs(
        pair(1, A, phrase="bus"), pair(2, phrase="bus"), pair(3, B, phrase="cat"), pair(4, phrase="cat")
    )
    predicted = pairs(
        pair(1, A, phrase="bus"), pair(2, phrase="bus"), pair(3, phrase="cat"), pair(4, C, phrase="cat")
    )
    report = evaluate(predicted, [truth], POINTS_ONLY, per_phrase=True)
    assert list(report.per_phrase) == ["bus", "cat"]
    bus, cat = report.per_phrase.values()
    assert (bus.pairs, bus.positives, cat.pairs) == (2, 1, 2)
    assert (value(bus, "cgF1"), value(cat, "IL_MCC"), value(cat, "AP")) == (1.0, -1.0, 0.0)
    alone = judged(pairs(*predicted.pairs[2:]), pairs(*truth.pairs[2:]))
    assert cat == alone


def test_a_phrase_that_no_resample_holds_has_no_interval() -> None:
    truth = pairs(*(pair(number, A, phrase=f"phrase {number}", image=number) for number in range(1, 9)))
    report = evaluate(truth, [truth], EvaluationSettings(resamples=1), per_phrase=True)
    assert {value(scores, "AP") for scores in report.per_phrase.values()} == {1.0}


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"resamples": -1}, {"confidence": 1.0}, {"confidence": 0.0}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        EvaluationSettings(**wrong)  # type: ignore[arg-type]

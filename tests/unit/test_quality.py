"""The measuring of quality: truth, figures, the score's calibration, and going on after an interrupt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.core import masks
from services.core.scoring import Calibration
from services.quality import figures, score
from services.quality.measuring import CHUNK, Measuring, Part
from services.quality.pipeline import matched_iou
from services.quality.scenes import CALIBRATION_SEED, SEEDS, KnownScene, known_scene
from services.quality.serving import Costs


def rectangle(x: int, y: int, width: int, height: int) -> bytes:
    pixels = np.zeros((40, 60), np.bool_)
    pixels[y : y + height, x : x + width] = True
    return masks.encode(pixels)


def test_a_scene_is_the_same_every_time_and_its_truth_agrees_with_itself() -> None:
    for number in range(5):
        known, again = known_scene(SEEDS[0], number), known_scene(SEEDS[0], number)
        assert known.content == again.content
        assert known.digest != known_scene(CALIBRATION_SEED, number).digest
        assert sorted(i for of in known.full_phrases.values() for i in of) == list(
            range(len(known.instances))
        )
        for phrase, members in known.full_phrases.items():
            assert known.members(phrase) == members
            kind = phrase.split()[-1]
            assert set(members) <= set(known.members(kind))
        assert known.members("purple submarine") == []


def test_a_general_word_holds_for_its_kinds_and_not_for_others() -> None:
    seen: dict[str, bool] = {}
    for number in range(20):
        known = known_scene(SEEDS[1], number)
        for index, instance in enumerate(known.scene.instances):
            if instance.kind in ("bus", "cat"):
                seen[instance.kind] = True
                assert (index in known.members("vehicle")) is (instance.kind == "bus")
                assert (index in known.members(f"{instance.colour} animal")) is (instance.kind == "cat")
    assert set(seen) == {"bus", "cat"}


def test_masks_match_one_to_one_with_none_left_over() -> None:
    first, second = rectangle(0, 0, 10, 10), rectangle(30, 10, 10, 20)
    assert matched_iou([first, second], [second, first], 40, 60) == 1.0
    assert matched_iou([first], [first, second], 40, 60) is None
    assert matched_iou([], [], 40, 60) is None
    assert matched_iou([first, first], [first, second], 40, 60) == 0.0
    half = rectangle(30, 10, 10, 10)
    assert matched_iou([first, half], [first, second], 40, 60) == pytest.approx(0.5)


def test_a_figure_has_its_mean_its_seeds_and_an_interval_that_narrows_with_more_scenes() -> None:
    rng = np.random.default_rng(0)

    def scenes(count: int) -> list[dict[str, list[float]]]:
        return [{"hit": [float(rng.random() < 0.8) for _ in range(5)]} for _ in range(count)]

    def make(of: Any) -> figures.Statistic:
        return figures.mean([x["hit"] for x in of])

    small, large = ([scenes(count) for _ in range(3)] for count in (20, 500))
    few, many = figures.figure(small, make), figures.figure(large, make)
    flat = [np.mean([v for x in seed for v in x["hit"]]) for seed in large]
    assert many.seeds == pytest.approx(flat)
    assert many.value == pytest.approx(np.mean(flat))
    assert many.low < many.value < many.high
    assert many.high - many.low < few.high - few.low
    assert many.low < 0.8 < many.high


def test_nothing_counted_is_not_a_number() -> None:
    assert np.isnan(figures.figure([[{"hit": []}]], lambda s: figures.mean([x["hit"] for x in s])).value)


def test_average_precision_by_hand() -> None:
    # Ranked: hit, miss, hit of three wanted: precision 1, 1/2, 2/3 -> monotone 1, 2/3, 2/3.
    statistic = figures.average_precision([[(0.9, True), (0.2, True)], [(0.5, False)]], [2, 1])
    ones = np.ones((1, 2))
    assert statistic(ones)[0] == pytest.approx((1 + 2 / 3) / 3)
    assert statistic(np.array([[1.0, 0.0]]))[0] == pytest.approx(1.0)  # without the scene of the miss


def test_average_and_calibration_error_by_hand() -> None:
    statistic = figures.average([figures.ratio([1, 0], [1, 1]), figures.ratio([0, 0], [0, 0])])
    assert statistic(np.ones((1, 2)))[0] == pytest.approx(0.5)  # what is not defined does not count
    wrong = figures.calibration_error([[(0.95, True)], [(0.95, False), (0.05, False)]])
    assert wrong(np.ones((1, 2)))[0] == pytest.approx((2 * 0.45 + 0.05) / 3)


def scored(rng: np.random.Generator, count: int) -> list[tuple[float, bool]]:
    """Raw scores that overstate: of those of raw r a share r ** 3 is right."""
    raw = rng.random(count)
    return [(float(r), bool(rng.random() < r**3)) for r in raw]


def test_the_fitted_score_is_calibrated_on_other_pairs() -> None:
    rng = np.random.default_rng(1)
    table = score.fit(scored(rng, 4000))
    calibrated = Calibration.of(table)
    others = [scored(rng, 4000)]

    def error(of: list[list[tuple[float, bool]]]) -> float:
        return float(figures.calibration_error(of)(np.ones((1, 1)))[0])

    assert error(others) > 0.15
    assert error([[(calibrated(raw), right) for raw, right in others[0]]]) < 0.03
    shares = [share for _, share in table]
    assert shares == sorted(shares)


def test_pairs_that_are_all_right_promise_no_certainty() -> None:
    table = score.fit([(float(raw), True) for raw in np.linspace(0.5, 1, 200)])
    assert all(0.97 < share < 1 for _, share in table)
    same = Calibration.of(score.fit([(0.7, number % 2 == 0) for number in range(200)]))
    assert same(0.1) == same(0.9) == pytest.approx(0.5, abs=0.02)


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        score.fit([(0.5, True)] * (2 * score.LEAST_PAIRS - 1))


class Counting:
    """A part that counts its scenes and is interrupted after some."""

    def __init__(self, stop: int | None = None) -> None:
        self.seen: list[int] = []
        self.stop = stop

    def find(self, known: KnownScene) -> dict[str, Any]:
        if self.stop is not None and known.number >= self.stop:
            raise KeyboardInterrupt
        self.seen.append(known.number)
        return {"number": known.number}


def measuring(counting: Counting, folder: Path, version: str = "net-1") -> Measuring:
    return Measuring({"part": Part("part", ("net",), counting.find)}, {"net": version}, Costs(), folder)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    scenes = CHUNK + 3
    first = measuring(Counting(stop=CHUNK + 1), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(first.measure("part", 3, scenes))
    assert first.findings("part", 3, scenes) is None
    assert first.findings("part", 3, CHUNK) is not None

    counting = Counting()
    second = measuring(counting, tmp_path)
    assert sum(second.measure("part", 3, scenes)) == scenes
    assert sorted(counting.seen) == [CHUNK, CHUNK + 1, CHUNK + 2]
    found = second.findings("part", 3, scenes)
    assert found is not None
    assert [scene["number"] for scene in found.scenes] == list(range(scenes))

    shorter = second.findings("part", 3, 5)
    assert shorter is not None
    assert len(shorter.scenes) == 5


def test_other_weights_are_measured_anew(tmp_path: Path) -> None:
    list(measuring(Counting(), tmp_path).measure("part", 3, 2))
    other = measuring(Counting(), tmp_path, version="net-2")
    assert other.findings("part", 3, 2) is None
    assert measuring(Counting(), tmp_path).findings("part", 4, 2) is None
    files = list(tmp_path.rglob("*.json"))
    assert [len(json.loads(path.read_text("utf-8"))["scenes"]) for path in files] == [2]

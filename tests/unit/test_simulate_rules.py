"""Inputs and rules of the simulated annotators: costs, mistakes, matching, clicks, truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.simulate import scenes
from gateway.simulate.costs import ACTIONS, Effort, read_costs
from gateway.simulate.mistakes import PERFECT, Mistakes, Nature, chance, read_mistakes
from gateway.simulate.rules import Rules, iou, is_right, matched, next_click, outlined, tight_box
from gateway.simulate.truth import TrueImage
from services.core.errors import InvalidInput
from services.scenes import SceneSettings, hard_negatives, make_scene, phrases
from services.scenes.arrays import HELD_OUT_SEEDS


@pytest.fixture(scope="module")
def images() -> list[TrueImage]:
    return scenes.draw(6, 40, difficulty="medium", side=128)


def disc(x: int, y: int, radius: int, side: int = 64) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def test_every_bundled_cost_tells_its_source() -> None:
    costs = read_costs()
    assert set(costs.actions) == set(ACTIONS)
    assert all(len(cost.source) > 20 and cost.meaning for cost in costs.actions.values())
    assert costs.seconds("box") == 7.0
    assert costs.seconds("outline") == pytest.approx(22 * 3600 / 1000)


def test_costs_are_read_from_toml_and_json(tmp_path: Path) -> None:
    given = {action: {"seconds": at + 0.5, "source": "measured here"} for at, action in enumerate(ACTIONS)}
    as_json, as_toml = tmp_path / "costs.json", tmp_path / "costs.toml"
    as_json.write_text(json.dumps(given))
    as_toml.write_text("\n".join(f'[{a}]\nseconds = {c["seconds"]}\nsource = "x"' for a, c in given.items()))
    for path in (as_json, as_toml):
        assert read_costs(path).seconds("key") == given["key"]["seconds"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"box": None}, "no cost of box"),
        ({"box": {"seconds": -1, "source": "x"}}, "box"),
        ({"box": {"seconds": 7}}, "source"),
        ({"boxes": {"seconds": 7, "source": "x"}}, "boxes"),
    ],
)
def test_a_wrong_file_of_costs_is_named_with_its_fault(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    whole = {action: {"seconds": 1, "source": "x"} for action in ACTIONS} | change
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({name: cost for name, cost in whole.items() if cost is not None}))
    with pytest.raises(InvalidInput, match=told) as caught:
        read_costs(path)
    assert "mine.json" in str(caught.value)


def test_effort_adds_up_and_tells_negatives_apart() -> None:
    effort = Effort(read_costs())
    effort.spend("first_click")
    effort.spend("next_click", 2)
    effort.spend("judge_absent", 3, on_negative=True)
    effort.spend("key", on_negative=True)
    assert effort.clicks == 3
    assert effort.negative_seconds == pytest.approx(3 * 1.7 + 0.2)
    assert effort.seconds == pytest.approx(2.4 + 2 * 2.65 + effort.negative_seconds)


def test_error_rates_change_single_fields(tmp_path: Path) -> None:
    path = tmp_path / "rates.toml"
    path.write_text("miss_instance = 0.5")
    assert read_mistakes(path) == read_mistakes().model_copy(update={"miss_instance": 0.5})
    path.write_text("miss_instanse = 0.5")
    with pytest.raises(InvalidInput, match="miss_instanse"):
        read_mistakes(path)


def test_chance_depends_on_what_it_is_for_alone() -> None:
    first, again, other = (chance(7, "scene", kind).random(4) for kind in ("review", "review", "negative"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rates_are_the_shares_of_what_goes_wrong() -> None:
    nature = Nature(Mistakes(miss_instance=0.2, sloppy_click=0.3, sloppy_reach=0.1), chance(1))
    assert np.mean([nature.misses() for _ in range(4000)]) == pytest.approx(0.2, abs=0.03)
    landed = [nature.clicked(50, 50, 100, 100) for _ in range(4000)]
    assert np.mean([at != (50, 50) for at in landed]) == pytest.approx(0.3, abs=0.03)
    assert not any(nature.accepts_wrong_mask() or nature.mislabels() for _ in range(100))


def test_a_slip_stays_inside_the_image() -> None:
    nature = Nature(Mistakes(sloppy_click=1, sloppy_reach=1), chance(2))
    landed = np.array([nature.clicked(0, 30, 64, 32) for _ in range(500)])
    assert landed.min() >= 0
    assert landed[:, 0].max() <= 63
    assert landed[:, 1].max() <= 31
    assert len(np.unique(landed, axis=0)) > 300


def test_masks_are_matched_one_to_one_and_bad_matches_take_no_object() -> None:
    overlaps = np.array([[0.9, 0.7], [0.85, 0.0], [0.4, 0.45]])
    assert matched(overlaps, 0.5) == {0: (1, 0.7), 1: (0, 0.85)}
    assert matched(np.zeros((0, 3)), 0.5) == {}


def test_a_person_clicks_in_the_middle_of_the_largest_error() -> None:
    truth = disc(20, 30, 12)
    x, y, positive = next_click(truth, np.zeros_like(truth))
    assert positive
    assert abs(x - 20) <= 1
    assert abs(y - 30) <= 1
    x, y, positive = next_click(truth, truth | disc(50, 50, 6))
    assert not positive
    assert abs(x - 50) <= 1
    assert abs(y - 50) <= 1
    with pytest.raises(ValueError, match="do not differ"):
        next_click(truth, truth)


def test_a_hand_is_too_wide_or_too_tight_by_its_error() -> None:
    truth = disc(30, 30, 10)
    assert outlined(truth, 0) is truth
    assert outlined(truth, 1).sum() > truth.sum() > outlined(truth, -1).sum()
    assert outlined(disc(30, 30, 1), -3).any()
    assert iou(truth, outlined(truth, 1)) > 0.7


def test_a_mask_is_right_by_iou_or_when_only_its_outline_is_off() -> None:
    rules = Rules()
    large, small = disc(30, 30, 20), disc(30, 30, 4)
    assert is_right(large, outlined(large, 2), rules)
    assert iou(small, outlined(small, -1)) < rules.accept_iou
    assert is_right(small, outlined(small, -1), rules)
    assert is_right(small, outlined(small, 1), rules)
    assert not is_right(small, outlined(small, 2), rules)
    assert not is_right(large, large & ~disc(40, 30, 10), rules)
    assert not is_right(disc(30, 30, 1), np.zeros_like(small), rules)
    blind = rules.model_copy(update={"unseen_pixels": 0})
    assert not is_right(small, outlined(small, -1), blind)


def test_the_box_is_tight() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:9, 10:22] = True
    assert tight_box(mask) == (10, 4, 12, 5)


def test_phrases_hold_as_the_scenes_say(images: list[TrueImage]) -> None:
    for at, image in enumerate(images):
        scene = make_scene(HELD_OUT_SEEDS + 40 + at, _settings(128))
        for phrase, instances in phrases(scene).items():
            assert image.holding(phrase) == sorted(instances)
        assert not any(image.holding(phrase) for phrase in hard_negatives(scene, 30))
        vehicles = [n for n, thing in enumerate(image.objects) if thing.kind in ("bus", "car", "boat")]
        assert image.holding("vehicle") == vehicles
        assert not image.holding("picture")
        for number, thing in enumerate(scene.instances):
            assert image.mask(number).sum() == thing.area


def test_a_nearly_right_label_is_wrong(images: list[TrueImage]) -> None:
    for image in images:
        for number, thing in enumerate(image.objects):
            wrong = image.nearly_right(number)
            assert len(wrong) > 3
            assert thing.label not in wrong
            assert all(number not in image.holding(label) for label in wrong)


def test_the_same_seed_draws_the_same_bytes(images: list[TrueImage]) -> None:
    again = scenes.draw(1, 40, difficulty="medium", side=128)
    assert again[0].id == images[0].id
    assert Mistakes() == PERFECT


def _settings(side: int) -> SceneSettings:
    return SceneSettings.preset("medium", width=side, height=side)

"""Scenes: the same seed gives the same scene, and the truth agrees with the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from services.scenes import SceneSettings, hard_negatives, make_scene, ontology, phrases, write_dataset
from services.scenes.__main__ import app
from services.scenes.arrays import SceneArrays, write_arrays


def test_a_seed_always_gives_the_same_scene() -> None:
    wanted = SceneSettings.preset("hard", width=200, height=120)
    first, second = make_scene(11, wanted), make_scene(11, wanted)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.ids, second.ids)
    assert first.instances == second.instances
    assert not np.array_equal(first.image, make_scene(12, wanted).image)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    width=st.integers(40, 400),
    height=st.integers(40, 400),
    difficulty=st.sampled_from(["easy", "medium", "hard"]),
)
def test_truth_agrees_with_itself_at_any_size(seed: int, width: int, height: int, difficulty: str) -> None:
    scene = make_scene(seed, SceneSettings.preset(difficulty, width=width, height=height))  # type: ignore[arg-type]
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.ids.max() == len(scene.instances)
    for index, instance in enumerate(scene.instances):
        mask = scene.mask(index)
        ys, xs = np.nonzero(mask)
        assert instance.area == len(xs) > 0
        assert list(instance.box) == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_less_occlusion_keeps_crowded_objects_apart() -> None:
    def touching(occlusion: float) -> float:
        """Mean share of an object's box that other objects' pixels cover, in crowded scenes."""
        shares = []
        for seed in range(20):
            scene = make_scene(seed, SceneSettings(occlusion=occlusion, objects=(10, 10), crowding=1.0))
            for index, instance in enumerate(scene.instances):
                x, y, w, h = instance.box
                inside = scene.ids[y : y + h, x : x + w]
                shares.append(float(((inside > 0) & (inside != index + 1)).mean()))
        return float(np.mean(shares))

    assert touching(0.0) < 0.6 * touching(0.8)


def test_phrases_name_all_their_instances_and_negatives_name_none() -> None:
    for seed in range(40):
        scene = make_scene(seed)
        found = phrases(scene)
        for phrase, members in found.items():
            words = set(phrase.split())
            holding = [i for i, instance in enumerate(scene.instances) if words <= set(instance.composition)]
            assert members == holding
        absent = hard_negatives(scene, limit=10)
        assert len(absent) == (10 if scene.instances else 0)
        assert not set(absent) & set(found)
        for phrase in absent:
            assert not any(set(phrase.split()) <= set(instance.composition) for instance in scene.instances)


def test_held_out_compositions_are_excluded_or_favoured() -> None:
    held_out = ontology().held_out
    assert len(held_out) == 24

    def share(mode: str) -> float:
        wanted = SceneSettings(width=64, height=64, held_out=mode)
        shown = [i.composition in held_out for seed in range(60) for i in make_scene(seed, wanted).instances]
        return sum(shown) / len(shown)

    assert share("exclude") == 0
    assert share("favour") > 0.1


def test_the_long_tail_makes_some_compositions_common() -> None:
    wanted = SceneSettings(width=64, height=64, long_tail=1.2, near_duplicates=0.0)
    shown = [i.composition for seed in range(60) for i in make_scene(seed, wanted).instances]
    commonest = max(shown.count(composition) for composition in set(shown))
    assert commonest > 0.08 * len(shown)


def test_noise_and_jpeg_change_pixels_but_not_the_truth() -> None:
    clean, noisy = make_scene(3), make_scene(3, SceneSettings(noise=8.0, jpeg_quality=40))
    assert np.array_equal(clean.ids, noisy.ids)
    difference = np.abs(clean.image.astype(int) - noisy.image.astype(int)).mean()
    assert 3 < difference < 20


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="width"):
        SceneSettings(width=3)
    with pytest.raises(ValueError, match="colour_count"):
        SceneSettings.model_validate({"colour_count": 3})
    for objects in ((-1, 3), (5, 2), (2, 256)):
        with pytest.raises(ValueError, match="objects"):
            SceneSettings(objects=objects)
    for size in ((0.0, 0.3), (0.4, 0.2), (0.1, 1.5)):
        with pytest.raises(ValueError, match="size"):
            SceneSettings(size=size)


def test_a_data_set_on_disk_holds_the_truth(tmp_path: Path) -> None:
    write_dataset(3, tmp_path, seed=20, settings=SceneSettings(width=96, height=80), negatives=4)
    coco = json.loads((tmp_path / "coco.json").read_text("utf-8"))
    saco = json.loads((tmp_path / "saco.json").read_text("utf-8"))
    assert len(list((tmp_path / "images").iterdir())) == len(coco["images"]) == 3
    for number, entry in enumerate(coco["images"]):
        scene = make_scene(20 + number, SceneSettings(width=96, height=80))
        assert np.array_equal(np.asarray(Image.open(tmp_path / "images" / entry["file_name"])), scene.image)
        mine = [a for a in coco["annotations"] if a["image_id"] == entry["id"]]
        for index, annotation in enumerate(mine):
            assert np.array_equal(
                coco_mask.decode(annotation["segmentation"]).astype(bool), scene.mask(index)
            )
        pairs = {i["text_input"]: i["id"] for i in saco["images"] if i["file_name"] == entry["file_name"]}
        for phrase, members in phrases(scene).items():
            pair = pairs.pop(phrase)
            assert sum(annotation["image_id"] == pair for annotation in saco["annotations"]) == len(members)
        assert set(hard_negatives(scene, 4)) == set(pairs)
    for annotation in saco["annotations"]:
        assert all(0 <= value <= 1 for value in (*annotation["bbox"], annotation["area"]))


def test_a_data_set_written_over_holds_its_own_scenes_only(tmp_path: Path) -> None:
    write_dataset(3, tmp_path, seed=0, settings=SceneSettings(width=64, height=64))
    write_dataset(1, tmp_path, seed=9, settings=SceneSettings(width=64, height=64))
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["scene-00000009.png"]


def test_arrays_that_are_written_over_are_unfinished_until_the_last_scene(tmp_path: Path) -> None:
    list(write_arrays(tmp_path, 1, 0, side=64))
    again = write_arrays(tmp_path, 1, 500, side=64)
    assert next(again) == 1
    with pytest.raises((OSError, ValueError)):
        SceneArrays.open(tmp_path)
    assert not list(again)
    assert len(SceneArrays.open(tmp_path)) == 1


def test_arrays_hold_the_same_scenes(tmp_path: Path) -> None:
    assert list(write_arrays(tmp_path, 4, 0, side=64)) == [4]
    arrays = SceneArrays.open(tmp_path)
    assert len(arrays) == 4
    for ids, objects in zip(arrays.ids, arrays.objects, strict=True):
        present = objects[objects[:, 0] >= 0]
        assert ids.max() == len(present)
        for number, (*_, x0, y0, x1, y1, _unused) in enumerate(present.tolist()):
            ys, xs = np.nonzero(ids == number + 1)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x0, y0, x1, y1)


def test_the_command_writes_arrays_of_small_scenes_that_are_not_all_square(tmp_path: Path) -> None:
    asked = ["--n", "12", "--side", "64", "--out", str(tmp_path / "small")]
    assert CliRunner().invoke(app, asked).exit_code == 0
    arrays = SceneArrays.open(tmp_path / "small")
    heights = {int(image.any((1, 2)).sum()) for image in arrays.images}
    assert max(heights) == 64
    assert len(heights) > 1


def test_the_command_tells_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    done = CliRunner().invoke(app, ["--n", "1", "--out", str(tmp_path / "file" / "within")])
    assert done.exit_code == 2
    assert "cannot be written" in done.output

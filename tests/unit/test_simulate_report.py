"""What comes out of a simulation is judged by the truth and told with what is claimed beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.cli.session import Session
from gateway.client import Thresholds
from gateway.schemas import Job, Statistics
from gateway.simulate import plot, report, scenes
from gateway.simulate.campaign import Outcome, Setting, StageNumber, should_come_out
from gateway.simulate.costs import read_costs
from gateway.simulate.measure import Quality, covered_share, judged, only
from gateway.simulate.mistakes import PERFECT
from gateway.simulate.people import Done
from gateway.simulate.rules import Rules
from gateway.simulate.truth import TrueImage
from tests.support.clients import job_body


@pytest.fixture(scope="module")
def truths() -> Mapping[str, TrueImage]:
    drawn = scenes.draw(4, 500, difficulty="easy", side=96)
    return {image.id: image for image in drawn}


def export_of(pairs: Sequence[tuple[TrueImage, str, Sequence[bytes], str]]) -> bytes:
    """An export in SA-Co's form, as far as the measure reads it: (image, phrase, masks, tier)."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, phrase, found, tier in pairs:
        number = 100 + len(images)
        polarity = "positive" if found else "negative"
        images.append(
            {
                "id": number,
                "file_name": f"{Path(image.name).stem}-{image.id}.png",
                "text_input": phrase,
                "width": image.width,
                "height": image.height,
                "is_instance_exhaustive": 1,
                "tercet": {"image_id": image.id, "polarity": polarity, "tier": tier},
            }
        )
        for counts in found:
            rle = {"size": [image.height, image.width], "counts": counts.decode("ascii")}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "segmentation": rle})
    return json.dumps({"images": images, "annotations": annotations}).encode()


def whole(image: TrueImage, phrase: str) -> list[bytes]:
    return [image.objects[n].counts for n in image.holding(phrase)]


def labels(image: TrueImage) -> list[str]:
    return list(dict.fromkeys(thing.label for thing in image.objects))


def test_a_perfect_export_has_perfect_figures(truths: Mapping[str, TrueImage]) -> None:
    pairs = [
        (image, label, whole(image, label), "silver") for image in truths.values() for label in labels(image)
    ]
    wrong = next(label for label in next(iter(truths.values())).nearly_right(0))
    first = next(iter(truths.values()))
    assert not first.holding(wrong)
    export = export_of([*pairs, (first, wrong, [], "silver")])
    found = judged(export, truths, should_come_out("1", truths, []))
    for name in ("precision", "recall", "precision@0.5", "recall@0.5", "boundary_IoU", "presence_accuracy"):
        assert found.figures[name] == 1
    assert (found.negatives, found.wrong_negatives) == (1, 0)
    assert found.masks == found.true_masks == sum(len(image.objects) for image in truths.values())
    assert covered_share(export, truths) == 1


def test_what_should_have_come_out_counts_as_missed(truths: Mapping[str, TrueImage]) -> None:
    first, *others = truths.values()
    export = export_of([(first, label, whole(first, label), "silver") for label in labels(first)])
    found = judged(export, truths, should_come_out("1", truths, []))
    share = len(first.objects) / sum(len(image.objects) for image in truths.values())
    assert found.figures["precision"] == 1
    assert found.figures["recall"] == pytest.approx(share)
    assert covered_share(export, truths) == pytest.approx(share)
    assert others


def test_wrong_masks_and_wrong_negatives_are_found(truths: Mapping[str, TrueImage]) -> None:
    image = next(one for one in truths.values() if len(labels(one)) > 1)
    first, second = labels(image)[:2]
    export = export_of([(image, first, whole(image, second), "synthetic"), (image, second, [], "silver")])
    found = judged(export, truths, ())
    assert found.figures["precision@0.5"] == found.figures["recall@0.5"] == 0
    assert found.wrong_negatives == 1
    assert judged(only(export, ["synthetic"]), truths, ()).negatives == 0


def test_an_empty_export_has_missed_everything(truths: Mapping[str, TrueImage]) -> None:
    found = judged(export_of([]), truths, should_come_out("1", truths, []))
    assert (found.positives, found.figures["recall@0.5"], found.figures["precision@0.5"]) == (0, 0.0, None)
    assert covered_share(export_of([]), truths) == 0


def test_stage_2_asks_for_labels_of_what_no_proposal_covers(truths: Mapping[str, TrueImage]) -> None:
    image = next(one for one in truths.values() if len(labels(one)) > 1)
    kind = image.objects[0].kind
    proposed = [
        done(image=image.id, phrase=kind, proposed=True),
        done(image=image.id, phrase="mood", proposed=True),
    ]
    wanted = {phrase for at, phrase in should_come_out("2", truths, proposed) if at == image.id}
    assert wanted == {kind} | {thing.label for thing in image.objects if thing.kind != kind}
    assert should_come_out("3", truths, proposed) == {(image.id, kind)}


def done(image: str = "i", phrase: str = "bus", **changes: Any) -> Done:
    standard: dict[str, Any] = {
        "task_id": f"{image}/{phrase}",
        "round": 0,
        "type": "review",
        "image_id": image,
        "phrase": phrase,
        "polarity": "positive",
        "proposed": False,
        "annotator": "annotator-0",
        "kind": "accept",
        "seconds": 10.0,
        "negative_seconds": 0.0,
        "clicks": 0,
        "masks_made": 0,
        "by_hand": 0,
        "actions": {"key": 1},
        "added": (),
    }
    return Done(**standard | changes)


def outcome(
    truths: Mapping[str, TrueImage], stage: StageNumber, work: Sequence[Done], **changes: Any
) -> Outcome:
    quality = Quality(
        positives=6,
        negatives=12,
        masks=9,
        true_masks=10,
        figures={"precision@0.5": 0.5},
        intervals={},
        wrong_negatives=3,
    )
    statistics: dict[str, Any] = {
        "stages": [],
        "people": [],
        "scores": {"edges": [], "positive": [], "negative": []},
        "thresholds": {"accept": 0.9, "review": 0.7},
        "hourly_rate": None,
    }
    standard: dict[str, Any] = {
        "stage": stage,
        "job": Job.model_validate(job_body(images=len(truths))),
        "people": 2,
        "done": work,
        "lost": 1,
        "quality": quality,
        "unseen": None,
        "covered": 0.8,
        "server": Statistics.model_validate(statistics),
        "models_seconds": 1.0,
        "wall_seconds": 2.0,
    }
    return Outcome(**standard | changes)


def setting(truths: Mapping[str, TrueImage]) -> Setting:
    return Setting(list(truths.values()), read_costs(), PERFECT, Rules(), 0, Thresholds(), 60.0)


def test_figures_are_quotients_of_what_was_done(truths: Mapping[str, TrueImage]) -> None:
    work = [
        done(seconds=60.0, clicks=6, masks_made=2, by_hand=1),
        done(phrase="car", kind="edit", seconds=24.0, clicks=2, masks_made=2),
        done(phrase="dog", type="negative", polarity="negative", seconds=6.0, negative_seconds=6.0),
    ]
    found = report.figures(outcome(truths, "2", work))
    assert found["images_per_hour"] == pytest.approx(len(truths) * 3600 / 90)
    assert found["seconds_per_positive"] == pytest.approx(84 / 6)
    assert found["seconds_per_negative"] == pytest.approx(6 / 12)
    assert found["clicks_per_mask"] == 2
    assert found["masks_by_hand_share"] == 0.25
    assert found["negatives_per_image"] == 3
    assert found["wrong_negatives_share"] == 0.25
    assert found["precision@0.5"] == 0.5


def test_time_of_stage_3_goes_to_the_pairs_that_people_saw(truths: Mapping[str, TrueImage]) -> None:
    unseen = Quality(4, 10, 5, 5, {"precision@0.5": 0.75}, {}, 0)
    found = report.figures(outcome(truths, "3", [done(seconds=30.0)], unseen=unseen))
    assert found["seconds_per_positive"] == pytest.approx(30 / 2)
    assert found["unseen_share"] == pytest.approx(14 / 18)
    assert found["unseen_precision@0.5"] == 0.75


def test_the_page_sets_the_claims_beside_what_came_out(
    truths: Mapping[str, TrueImage], tmp_path: Path
) -> None:
    slow, quick = outcome(truths, "1", [done(seconds=100.0)]), outcome(truths, "2", [done(seconds=40.0)])
    found = report.as_json([slow, quick], setting(truths), {"sam": "tiny-1"})
    assert found["stages"]["2"]["figures"]["images_per_hour_over_stage_1"] == pytest.approx(2.5)
    page = report.markdown(json.loads(json.dumps(found)))
    assert "| figure | stage 1 | claimed | stage 2 | claimed |" in page
    assert "| precision (IoU .5) | 50.0% | 98.0% | 50.0% | 95.0% |" in page
    assert "| the same, over stage 1's | – | – | 2.50 | 2.00 |" in page
    assert "sam tiny-1" in page
    assert all(cost.source in page for cost in read_costs().actions.values())
    plot.draw(found, tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as picture:
        assert picture.size[0] > 1000
    assert plot.claimed(found, "2", "images_per_hour") == 200
    assert plot.claimed(found, "2", "boundary_IoU") is None


def test_a_wrong_file_ends_the_command_before_anything_is_sent(tmp_path: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"{request.url} was called")

    (tmp_path / "costs.toml").write_text("[key]\nseconds = 1\nsource = 'x'\n")
    (tmp_path / "keys").write_text("only-one\n")
    session = Session(url="http://gateway.test", transport=httpx.MockTransport(refuse))
    command = ["simulate", "--out", str(tmp_path / "out"), "--images", "1"]
    wrong = CliRunner().invoke(app, [*command, "--costs", str(tmp_path / "costs.toml")], obj=session)
    assert wrong.exit_code == 6
    assert "no cost of look" in wrong.stderr
    single = CliRunner().invoke(app, [*command, "--keys", str(tmp_path / "keys")], obj=session)
    assert single.exit_code == 2
    assert "two keys" in single.stderr

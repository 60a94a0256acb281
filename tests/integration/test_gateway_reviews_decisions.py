"""Decisions over REST: from the tasks of each stage to annotations, what is refused, and what others see."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import pytest

from gateway.client import Forbidden, InvalidRequest, edited_pair, mask_array
from services.core import masks
from tests.support import runs
from tests.support.gateway_desks import (
    HEIGHT,
    MASKS_A_PAIR,
    WIDTH,
    Desk,
    bearer,
    decision,
    drawn,
    lease,
    pair_with,
    positive,
    rle,
)
from tests.support.gateways import png
from tests.support.polling import eventually


def test_a_stage_2_job_from_its_tasks_to_its_annotations(desk: Desk) -> None:
    job_id = desk.submit(positive("dog", 0.8), positive("cat", 0.75), positive("cow", 0.72), runs.negative())
    ann = desk.person("annotator")
    held = {one.task.pair.phrase: one for one in lease(ann, 4, job_id=job_id)}
    assert {phrase: one.task.type for phrase, one in held.items()} == {
        "dog": "review",
        "cat": "review",
        "cow": "review",
        "wolf": "negative",
    }
    dog = held["dog"].task
    assert (dog.stage, dog.job_id, dog.image.width, dog.image.height) == ("semi_automatic", job_id, 32, 24)
    assert np.array_equal(mask_array(dog.pair.masks[0]), drawn(2, 6))
    assert "stage 2" in dog.reasons[0]
    assert ann.content(dog.image.id) == png(0)

    ann.decide_review(held["dog"], "accept", active_seconds=1.5)
    ann.decide_review(held["wolf"], "accept", active_seconds=0.5)
    ann.decide_review(held["cow"], "reject", active_seconds=1.0, comment="a horse")
    kittens = edited_pair(
        held["cat"].task.pair, [*held["cat"].task.pair.masks, drawn(15, 4)], phrase="Kittens"
    )
    done = ann.decide_review(held["cat"], "edit", pairs=[kittens], active_seconds=7.0)
    assert (done.task_id, done.kind) == (held["cat"].task.id, "edit")

    eventually(lambda: ann.job(job_id).status == "complete")
    found = ann.annotations(dog.image.id, job_id=job_id)
    assert [(p.phrase, p.polarity, len(p.masks)) for p in found.pairs] == [
        ("dog", "positive", 1),
        ("kitten", "positive", 2),
        ("wolf", "negative", 0),
    ]
    model, person = found.pairs[1].masks
    assert model.made_by is not None
    assert model.made_by.model == "sam"
    assert person.made_by is not None
    assert person.made_by.annotator == done.annotator
    assert (person.area, person.box) == (16, (15.0, 2.0, 4.0, 4.0))
    assert len(desk.accepted()) == 4
    stored = desk.decisions()
    assert {one.annotator for one in stored} == {done.annotator}
    assert sorted(one.comment for one in stored) == ["", "", "", "a horse"]
    eventually(lambda: ann.report(job_id).decisions == 4)
    assert ann.report(job_id).active_seconds == pytest.approx(10.0)


def test_an_image_is_annotated_in_stage_1(desk: Desk) -> None:
    job_id = desk.submit(stage="assisted_manual", tier="silver")
    ann, bob = desk.person(), desk.person()
    (held,) = lease(ann)
    task = held.task
    assert (task.type, task.pair, len(task.regions)) == ("annotate", None, 1)
    assert task.regions[0].box == (3.0, 2.0, 6.0, 6.0)
    pairs = [
        {
            "phrase": "The Red Boats",
            "exhaustive": True,
            "masks": [{"rle": task.regions[0].mask.rle.model_dump(mode="json")}],
        },
        {"phrase": "canoe", "polarity": "negative", "hard_negative": True, "confused_with": "red boat"},
    ]
    path = f"/v1/reviews/{task.id}/decision"
    assert desk.post(ann, path, decision(held, kind="edit", pairs=pairs)).status_code == 200
    (check,) = lease(bob)
    assert (check.task.type, check.task.pair.phrase) == ("exhaustivity", "red boat")
    bob.decide_review(check, "accept", active_seconds=1)
    eventually(lambda: ann.job(job_id).status == "complete")
    found = ann.annotations(task.image.id, job_id=job_id)
    assert [(p.phrase, p.polarity, p.confused_with) for p in found.pairs] == [
        ("canoe", "negative", "red boat"),
        ("red boat", "positive", None),
    ]


def test_a_decision_repeated_is_answered_as_the_first_and_another_is_refused(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"))
    ann = desk.person()
    (held,) = lease(ann)
    path = f"/v1/reviews/{held.task.id}/decision"
    first = desk.post(ann, path, decision(held))
    assert first.status_code == 200
    again = desk.post(ann, path, decision(held, active_seconds=2.5))
    assert (again.status_code, again.json()) == (200, first.json())
    eventually(lambda: ann.job(job_id).status == "complete")  # from now on only the log knows the task
    assert desk.post(ann, path, decision(held)).json() == first.json()
    for other, code in (
        (decision(held, id="d-2"), "already_decided"),
        (decision(held, kind="reject"), "conflict"),
    ):
        refused = desk.post(ann, path, other)
        assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert len(desk.decisions()) == 1


def test_the_second_person_sees_what_the_first_wrote_and_who_it_was(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"), exhaustivity_rate=1.0)
    ann, bob = desk.person(), desk.person("verifier")
    (held,) = lease(ann)
    assert held.comments == []
    text = "<img src=x onerror=alert(1)> one is behind the fence"
    ann.decide_review(held, "accept", active_seconds=1, comment=text)
    (check,) = lease(bob, types=["exhaustivity"])
    (said,) = check.comments
    assert (said.text, said.name, said.annotator) == (text, "test", ann.me().key_id)
    assert (said.kind, said.task_type, said.job_id, said.taken_back) == ("accept", "review", job_id, False)
    assert said.phrases == ["dog"]
    done = bob.decide_review(check, "accept", active_seconds=1, comment="seen")
    answer = desk.post(bob, f"/v1/reviews/{check.task.id}/undo", {"id": "u-1", "decision_id": done.id})
    assert [one["text"] for one in answer.json()["comments"]][:1] == [text]
    desk.gateway.state.keys.revoke("default", said.annotator)
    assert bob.take_review(check.task.id).comments[0].name == said.annotator


WRONG = {
    "another size": (400, pair_with({"rle": rle(size=[WIDTH, HEIGHT])})),
    "runs too short": (400, pair_with({"rle": rle(counts="52203")})),
    "no runs at all": (400, pair_with({"rle": rle(counts="ö§")})),
    "an endless run": (400, pair_with({"rle": rle(counts="o" * 500_000)})),
    "an empty mask": (400, pair_with({"rle": rle(counts=masks.encode(drawn(0, 0)).decode())})),
    "a box outside": (400, pair_with({"rle": rle(), "box": [20, 2, 30, 6]})),
    "a huge box": (400, pair_with({"rle": rle(), "box": [1e300, 2, 6, 6]})),
    "a positive without masks": (400, pair_with()),
    "a negative with masks": (400, pair_with({"rle": rle()}, polarity="negative")),
    "no phrase": (400, pair_with({"rle": rle()}, phrase="the")),
    "too many masks": (413, pair_with(*[{"rle": rle(x)} for x in range(MASKS_A_PAIR + 1)])),
    "two pairs": (400, {"kind": "edit", "pairs": pair_with({"rle": rle()})["pairs"] * 2}),
    "no pair": (400, {"kind": "edit"}),
    "a huge size": (422, pair_with({"rle": rle(size=[10**12, 1])})),
    "a long phrase": (422, pair_with({"rle": rle()}, phrase="x" * 200)),
    "an unknown kind": (422, {"kind": "maybe"}),
    "no kind": (422, {"kind": None}),
    "negative seconds": (422, {"active_seconds": -1}),
    "no id": (422, {"id": ""}),
    "somebody else's name": (422, {"annotator": "key_of_somebody_else"}),
}


def test_whatever_a_browser_sends_is_checked_and_the_task_can_still_be_decided(desk: Desk) -> None:
    desk.submit(positive("dog"))
    ann = desk.person()
    (held,) = lease(ann)
    path = f"/v1/reviews/{held.task.id}/decision"
    for name, (status, changes) in WRONG.items():
        refused = desk.post(ann, path, decision(held, **changes))
        assert (refused.status_code, name) == (status, name), refused.text
        assert refused.headers["content-type"] == "application/problem+json"
    headers = {**bearer(ann), "Content-Type": "application/json"}
    for text in (
        json.dumps(decision(held)).replace("1.5", "NaN"),
        json.dumps(decision(held)).replace("1.5", "Infinity"),
        json.dumps(decision(held, comment="?")).replace("?", "\\ud800"),
        json.dumps(decision(held, **pair_with({"rle": rle(), "box": [0, 0, 1, 1]}))).replace("[0,", "[NaN,"),
    ):
        refused = desk.http.post(path, content=text, headers=headers)
        assert refused.status_code == 422, text
    large = desk.post(ann, path, decision(held, **pair_with({"rle": rle(counts="0" * 2_000_000)})))
    assert large.status_code == 400  # read, and refused for what it says
    larger = desk.post(ann, path, decision(held, **pair_with({"rle": rle(counts="0" * 5_000_000)})))
    assert larger.status_code == 413
    assert not desk.decisions()
    assert desk.post(ann, path, decision(held, **pair_with({"rle": rle()}))).status_code == 200


def test_a_phrase_that_the_models_missed_comes_with_the_decision_on_a_pair(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"), runs.negative("wolf"), exhaustivity_rate=0.0)
    ann = desk.person()
    (held,) = lease(ann, types=["review"])
    kept = edited_pair(held.task.pair, held.task.pair.masks)
    path = f"/v1/reviews/{held.task.id}/decision"

    def pairs(phrase: str) -> list[dict[str, Any]]:
        new = {"phrase": phrase, "exhaustive": True, "masks": [{"rle": rle(20, 4)}]}
        return [kept.model_dump(mode="json"), new]

    refused = desk.post(ann, path, decision(held, kind="edit", pairs=pairs("the wolves")))
    assert (refused.status_code, "already" in refused.json()["detail"]) == (400, True)
    assert desk.post(ann, path, decision(held, kind="edit", pairs=pairs("Red Kites"))).status_code == 200
    eventually(lambda: len(desk.accepted()) == 1)
    found = ann.annotations(held.task.image.id, job_id=job_id).pairs
    assert [(p.phrase, p.source, len(p.masks)) for p in found] == [
        ("dog", "model", 1),
        ("red kite", "person", 1),
    ]
    # Whoever adds it again on another pair of the image is told so.
    (wolf,) = lease(ann, types=["negative"])
    own = {"phrase": "wolf", "polarity": "negative"}
    twice = decision(wolf, id="d-2", kind="edit", pairs=[own, pairs("red kite")[1]])
    refused = desk.post(ann, f"/v1/reviews/{wolf.task.id}/decision", twice)
    assert (refused.status_code, "'red kite' already" in refused.json()["detail"]) == (400, True)


def test_leads_adjudicate_gold_that_its_annotators_do_not_agree_on(desk: Desk) -> None:
    job_id = desk.submit(stage="assisted_manual", tier="gold")
    people = [desk.person() for _ in range(3)]
    for who, x in zip(people, (2, 2, 20), strict=True):
        (held,) = lease(who, types=["annotate"])
        pairs = [{"phrase": "boat", "exhaustive": True, "masks": [{"rle": rle(x)}]}]
        path = f"/v1/reviews/{held.task.id}/decision"
        body = decision(held, id=str(uuid.uuid4()), kind="edit", pairs=pairs)
        assert desk.post(who, path, body).status_code == 200
    lead, annotator = desk.person("lead"), desk.person()
    eventually(
        lambda: [q.waiting for q in lead.queues(job_id=job_id).queues if q.type == "adjudicate"] == [1]
    )
    refused = desk.post(annotator, "/v1/reviews/lease", {"types": ["adjudicate"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert all(one.task.type == "exhaustivity" for one in annotator.lease_reviews(most=10))
    (held,) = lead.lease_reviews(types=["adjudicate"])
    with pytest.raises(Forbidden, match="leads"):
        annotator.take_review(held.task.id)
    task = held.task
    assert (task.pair, len(task.versions)) == (None, 3)
    assert task.agreement is not None
    assert [one.phrase for one in task.agreement.pairs] == ["boat"]
    assert task.agreement.pairs[0].agreement == pytest.approx(1 / 3)
    assert {one.annotator for one in task.agreement.annotators} == {one.annotator for one in task.versions}
    assert sorted(one.agreement for one in task.agreement.annotators) == [0.0, 0.5, 0.5]
    assert "disagree" in task.reasons[0]
    masks_of_two = [one.pairs[0].masks[0] for one in task.versions]
    right = edited_pair(task.versions[0].pairs[0], masks_of_two[:1])
    with pytest.raises(InvalidRequest, match="version of record"):
        lead.decide_review(held, "accept", active_seconds=1)
    lead.decide_review(held, "edit", pairs=[right], active_seconds=9)
    eventually(lambda: len(desk.accepted()) == 4)
    eventually(lambda: len(lead.annotations(task.image.id, job_id=job_id).pairs) == 1)
    exported = json.loads(lead.export_content(lead.create_export("saco", [job_id])))
    versions = [entry["tercet"]["version"] for entry in exported["images"]]
    assert versions == ["adjudicated", "independent", "independent", "independent"]

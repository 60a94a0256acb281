"""People's work through both clients: what is tried again, what is told apart, and what decisions carry."""

from __future__ import annotations

import json
from typing import Any, get_args

import httpx
import numpy as np
import pytest

from gateway import review_views, schemas
from gateway.client import (
    AlreadyDecided,
    Conflict,
    LeaseLost,
    Overloaded,
    drawn_mask,
    edited_pair,
    mask_array,
)
from gateway.views import pair
from services.core import masks
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.clients import Caller, Kind, Script, problem

CLIENTS = pytest.mark.parametrize("kind", ["sync", "async"])


def held() -> schemas.LeasedTask:
    task = records_pb2.ReviewTask(
        id="a/b", type=records_pb2.TASK_TYPE_REVIEW, image=runs.image(), run=runs.run(), pair=runs.pair("dog")
    )
    return schemas.LeasedTask(
        task=review_views.task(task),
        lease_id="l-1",
        expires_at="2026-01-02T03:04:05Z",
    )


def decided(**changes: Any) -> httpx.Response:
    return httpx.Response(
        200, json={"id": "d", "task_id": "a/b", "kind": "accept", "annotator": "k", **changes}
    )


def busy() -> httpx.Response:
    return problem(503, "unavailable", "a part does not answer", headers={"Retry-After": "1"})


@CLIENTS
def test_every_try_of_a_decision_carries_the_same_id(kind: Kind) -> None:
    caller = Caller(kind, Script(busy(), httpx.ReadError("cut"), decided()))
    assert caller("decide_review", held(), "accept", active_seconds=1.5).annotator == "k"
    bodies = [json.loads(request.content) for request in caller.requests]
    assert len(bodies) == 3
    assert len({body["id"] for body in bodies}) == 1
    assert {request.url.raw_path for request in caller.requests} == {b"/v1/reviews/a%2Fb/decision"}
    assert (bodies[0]["lease_id"], bodies[0]["active_seconds"]) == ("l-1", 1.5)


@CLIENTS
def test_two_decisions_have_two_ids_unless_one_is_given(kind: Kind) -> None:
    caller = Caller(kind, Script(decided(), decided(), decided()))
    for given in (None, None, "mine"):
        caller("decide_review", held(), "accept", active_seconds=1, decision_id=given)
    ids = [json.loads(request.content)["id"] for request in caller.requests]
    assert len(set(ids)) == 3
    assert ids[2] == "mine"


@CLIENTS
def test_a_lease_is_not_asked_for_twice(kind: Kind) -> None:
    caller = Caller(kind, Script(busy(), httpx.Response(200, json={"items": []})))
    with pytest.raises(Overloaded):
        caller("lease_reviews", types=["review"], job_id="job-1", phrase="dog", most=5)
    [request] = caller.requests
    assert json.loads(request.content) == {
        "types": ["review"],
        "job_id": "job-1",
        "phrase": "dog",
        "max_tasks": 5,
    }


@CLIENTS
@pytest.mark.parametrize(
    ("status", "code", "kind_of_error"),
    [(412, "lease_lost", LeaseLost), (409, "already_decided", AlreadyDecided), (409, "conflict", Conflict)],
)
def test_what_became_of_a_task_is_told_apart(
    kind: Kind, status: int, code: str, kind_of_error: type[Exception]
) -> None:
    for name, more in (("renew_review", {}), ("decide_review", {"kind": "reject", "active_seconds": 0})):
        caller = Caller(kind, Script(problem(status, code, "the lease ended")))
        with pytest.raises(kind_of_error, match="the lease ended") as told:
            caller(name, held(), **more)
        assert type(told.value) is kind_of_error
        assert len(caller.requests) == 1


@CLIENTS
def test_given_back(kind: Kind) -> None:
    caller = Caller(kind, Script(httpx.Response(204), httpx.Response(204)))
    caller("release_review", held())
    caller("skip_review", held())
    assert [r.url.raw_path for r in caller.requests] == [
        b"/v1/reviews/a%2Fb/release",
        b"/v1/reviews/a%2Fb/skip",
    ]
    assert all(json.loads(r.content) == {"lease_id": "l-1"} for r in caller.requests)


def opened() -> httpx.Response:
    answer = {**held().model_dump(mode="json"), "earlier": {"kind": "reject", "pairs": []}}
    return httpx.Response(200, json=answer)


@CLIENTS
def test_every_try_of_an_undo_carries_the_same_id(kind: Kind) -> None:
    caller = Caller(kind, Script(busy(), httpx.ReadError("cut"), opened(), opened()))
    again = caller("undo_review", "a/b", "d-1")
    assert (again.lease_id, again.earlier.kind) == ("l-1", "reject")
    caller("undo_review", "a/b", "d-1", undo_id="mine")
    bodies = [json.loads(request.content) for request in caller.requests]
    assert {body["decision_id"] for body in bodies} == {"d-1"}
    assert len({body["id"] for body in bodies[:3]}) == 1
    assert bodies[3]["id"] == "mine"
    assert {request.url.raw_path for request in caller.requests} == {b"/v1/reviews/a%2Fb/undo"}


@CLIENTS
def test_one_task_is_asked_for_again_after_a_cut(kind: Kind) -> None:
    answer = httpx.Response(200, json=held().model_dump(mode="json"))
    caller = Caller(kind, Script(busy(), answer, problem(409, "conflict", "somebody else holds it")))
    assert caller("take_review", "a/b").task.id == "a/b"
    with pytest.raises(Conflict, match="somebody else"):
        caller("take_review", "a/b")
    assert {request.url.raw_path for request in caller.requests} == {b"/v1/reviews/a%2Fb/lease"}


def test_masks_are_drawn_or_kept() -> None:
    pixels = np.zeros((runs.HEIGHT, runs.WIDTH), dtype=np.bool_)
    pixels[2:5, 3:9] = True
    anew = drawn_mask(pixels)
    assert anew.rle.size == (runs.HEIGHT, runs.WIDTH)
    assert np.array_equal(masks.decode(anew.rle.counts.encode(), runs.HEIGHT, runs.WIDTH), pixels)
    old = pair(runs.pair("dog")).masks[0]
    kept = drawn_mask(old)
    assert np.array_equal(masks.decode(kept.rle.counts.encode(), runs.HEIGHT, runs.WIDTH), mask_array(old))


def test_a_pair_without_instances_is_negative() -> None:
    dog = pair(runs.pair("dog"))
    assert edited_pair(dog, dog.masks).polarity == "positive"
    assert edited_pair(dog, dog.masks).exhaustive
    gone = edited_pair(dog, [])
    assert (gone.polarity, gone.exhaustive, gone.masks) == ("negative", False, [])
    wolf = pair(runs.negative("wolf"))
    assert edited_pair(wolf, []).confused_with == "dog"
    assert not edited_pair(wolf, dog.masks).hard_negative
    assert edited_pair(wolf, dog.masks).confused_with is None


def test_the_words_are_the_records_words() -> None:
    assert len(review_views.task_types(get_args(schemas.TaskType))) == len(records_pb2.TaskType.values()) - 1
    for kind in get_args(schemas.DecisionKind):
        sent = schemas.DecisionRequest(id="d", lease_id="l", kind=kind, active_seconds=0)
        made = review_views.decision("t", "key_1", sent)
        assert records_pb2.DecisionKind.Name(made.kind) == f"DECISION_KIND_{kind.upper()}"
        assert (made.annotator, made.HasField("decided_at")) == ("key_1", False)


def test_a_regions_mask_may_be_missing() -> None:
    box = concepts_pb2.Box(x=1, y=2, width=3, height=4)
    assert review_views.region(concepts_pb2.Region(box=box)).mask is None
    assert review_views.region(concepts_pb2.Region(box=box)).box == (1.0, 2.0, 3.0, 4.0)
    assert review_views.region(concepts_pb2.Region(box=box, mask=runs.mask())).mask is not None


def test_the_examples_in_the_document_are_right() -> None:
    for model in (schemas.LeaseRequest, schemas.LeaseProof, schemas.DecisionRequest):
        [example] = model.model_json_schema()["examples"]
        sent = model.model_validate(example)
        if isinstance(sent, schemas.DecisionRequest):
            drawn = sent.pairs[0].masks[0].rle
            masks.check(drawn.counts.encode(), *drawn.size)

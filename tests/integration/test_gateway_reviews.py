"""People's work over REST: the real gateway, mining and dataset services over the embedded adapters.

The models' part is played by writing what the verifier would write for each submitted image.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gateway import bootstrap
from gateway.client import (
    AlreadyDecided,
    AsyncClient,
    Client,
    ClientSettings,
    Conflict,
    Forbidden,
    InvalidRequest,
    JobOptions,
    LeaseLost,
    NotFound,
    Upload,
    edited_pair,
    mask_array,
)
from gateway.schemas import Role
from gateway.settings import GatewaySettings
from services.core import masks
from services.dataset.bootstrap import build as build_dataset
from services.dataset.settings import DatasetSettings
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_SUBMITTED,
    IMAGES_VERIFIED,
    REVIEW_COMPLETED,
    encode,
)
from services.kit.clock import SystemClock
from services.kit.running import start
from services.kit.service import Adapters
from services.mining.bootstrap import build as build_mining
from services.mining.settings import MiningSettings
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.gateways import adapters, png, running
from tests.support.http import serving
from tests.support.polling import eventually

HEIGHT, WIDTH = 24, 32
LEASE_SECONDS = 300.0
UNDO_SECONDS = 600.0
MASKS_A_PAIR = 3


class MovableClock(SystemClock):
    """The machine's clock, set forward by tests; waiting takes the time that it takes."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@dataclass
class Desk:
    """The running parts, and people at work."""

    url: str
    gateway: bootstrap.Gateway
    adapters: Adapters
    clock: MovableClock
    http: httpx.Client
    open: ExitStack

    def person(self, *roles: Role, tenant: str = "default") -> Client:
        """A client of a new person."""
        _, token = self.gateway.state.keys.create(
            name="test", tenant=tenant, roles=roles or ("annotator",), created_by="test"
        )
        return self.open.enter_context(Client(ClientSettings(url=self.url, api_key=token, attempts=1)))

    def submit(self, *pairs: concepts_pb2.Pair, images: int = 1, **options: Any) -> str:
        """A stage 2 job, unless told otherwise, that the models are done with: its id."""
        uploads = [Upload(f"{seed}.png", png(seed), len(png(seed))) for seed in range(images)]
        asked = {"stage": "semi_automatic", "exhaustivity_rate": 0.0, **options}
        job_id = self.person("submitter").submit(uploads, JobOptions(**asked)).id
        regions = [concepts_pb2.Region(box=square(3).box, mask=square(3))]
        messages = []
        for record in self.adapters.bus.read([IMAGES_SUBMITTED]):
            sent = records_pb2.ImageSubmitted.FromString(record.value)
            if sent.run.job_id == job_id:
                done = records_pb2.ImageVerified(image=sent.image, run=sent.run, pairs=pairs)
                if sent.run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
                    done.regions.extend(regions)
                messages.append(
                    encode(IMAGES_VERIFIED, done, key=sent.image.id, tenant="default", job_id=job_id)
                )
        assert len(messages) == images
        self.adapters.bus.publish(messages)
        return job_id

    def post(self, who: Client, path: str, body: Any) -> httpx.Response:
        """The answer to a request as a browser makes it."""
        return self.http.post(path, json=body, headers=bearer(who))

    def accepted(self) -> list[records_pb2.AnnotationsAccepted]:
        found = self.adapters.bus.read([ANNOTATIONS_ACCEPTED])
        return [records_pb2.AnnotationsAccepted.FromString(record.value) for record in found]

    def decisions(self) -> list[records_pb2.ReviewDecision]:
        found = self.adapters.bus.read([REVIEW_COMPLETED])
        return [records_pb2.ReviewCompleted.FromString(record.value).decision for record in found]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = MovableClock()
    parts = adapters(tmp_path, clock=clock)
    at = {name: f"unix:{tmp_path}/{name}.sock" for name in ("mining", "dataset")}
    mining = MiningSettings(
        mining_lease_seconds=LEASE_SECONDS,
        mining_undo_seconds=UNDO_SECONDS,
        mining_masks_a_pair=MASKS_A_PAIR,
    )
    services = [
        start(build_mining(parts, mining), parts, at["mining"], settings=mining),
        start(build_dataset(parts, DatasetSettings()), parts, at["dataset"], settings=DatasetSettings()),
    ]
    settings = GatewaySettings(dataset_address=at["dataset"], mining_address=at["mining"], rpc_attempts=1)
    gateway = bootstrap.build(parts, settings)
    try:
        assert all(service.wait_ready(30) for service in services)
        with ExitStack() as stack:
            url = stack.enter_context(serving(gateway.app))
            http = stack.enter_context(httpx.Client(base_url=url, timeout=30))
            yield Desk(url, gateway, parts, clock, http, stack)
    finally:
        gateway.stop()
        gateway.close()
        for service in services:
            service.stop(10)


def bearer(who: Client) -> dict[str, str]:
    key = who.settings.key()
    return {"Authorization": f"Bearer {key}"}


def square(x: int = 2, side: int = 6) -> concepts_pb2.Mask:
    """A square mask made by a model."""
    pixels = drawn(x, side)
    counts = masks.encode(pixels)
    left, top, width, height = masks.box(counts, HEIGHT, WIDTH)
    return concepts_pb2.Mask(
        counts=counts,
        height=HEIGHT,
        width=WIDTH,
        box=concepts_pb2.Box(x=left, y=top, width=width, height=height),
        area=side * side,
        provenance=concepts_pb2.Provenance(model=concepts_pb2.ModelVersion(name="sam", version="1")),
    )


def drawn(x: int, side: int) -> Any:
    """A square as a person draws it: bool [HEIGHT, WIDTH]."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    pixels[2 : 2 + side, x : x + side] = True
    return pixels


def positive(phrase: str, score: float = 0.8) -> concepts_pb2.Pair:
    return runs.pair(phrase, concepts_pb2.VERDICT_REVIEW, score=score, masks=[square()])


def lease(who: Client, count: int = 1, **filters: Any) -> list[Any]:
    """So many tasks, once mining has read of them; one after the other keeps none back for nobody."""
    found: list[Any] = []

    def enough() -> bool:
        found.extend(who.lease_reviews(most=count - len(found), **filters))
        return len(found) == count

    eventually(enough)
    return found


def decision(held: Any, **changes: Any) -> dict[str, Any]:
    return {"id": "d-1", "lease_id": held.lease_id, "kind": "accept", "active_seconds": 1.5, **changes}


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


def test_one_task_is_never_held_by_two(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"))
    eventually(lambda: desk.person().queues(job_id=job_id).queues)
    people = [desk.person() for _ in range(6)]
    together = threading.Barrier(len(people))

    def race(who: Client) -> Sequence[Any]:
        together.wait(30)
        return who.lease_reviews(job_id=job_id, most=5)

    with ThreadPoolExecutor(len(people)) as pool:
        got = list(pool.map(race, people))
    assert sorted(map(len, got)) == [0, 0, 0, 0, 0, 1]
    (held,) = next(tasks for tasks in got if tasks)
    thief = people[[len(tasks) for tasks in got].index(0)]
    for call in (
        lambda: thief.decide_review(held, "reject", active_seconds=1),
        lambda: thief.renew_review(held),
        lambda: thief.release_review(held),
        lambda: thief.skip_review(held),
    ):
        with pytest.raises(LeaseLost, match="someone else"):
            call()
    assert not desk.decisions()


def test_a_lease_ends_by_the_clock_and_the_late_decision_is_refused_with_the_reason(desk: Desk) -> None:
    desk.submit(positive("dog"))
    ann, bob = desk.person(), desk.person()
    (late,) = lease(ann)
    desk.clock.ahead += LEASE_SECONDS - 10
    renewed = ann.renew_review(late)
    assert renewed.expires_at > late.expires_at
    desk.clock.ahead += LEASE_SECONDS - 10
    assert bob.lease_reviews() == []
    desk.clock.ahead += 11
    with pytest.raises(LeaseLost, match="went back to the queue") as told:
        ann.decide_review(late, "accept", active_seconds=1)
    assert (told.value.status, told.value.code) == (412, "lease_lost")
    (held,) = lease(bob)
    with pytest.raises(LeaseLost, match="someone else holds"):
        ann.decide_review(late, "accept", active_seconds=1)
    with pytest.raises(LeaseLost):
        ann.renew_review(late)
    bob.decide_review(held, "accept", active_seconds=1)
    with pytest.raises(AlreadyDecided, match="decided already") as decided:
        ann.decide_review(late, "accept", active_seconds=1)
    assert (decided.value.status, decided.value.code) == (409, "already_decided")
    assert len(desk.decisions()) == 1


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


def test_a_foreign_task_is_answered_as_an_unknown_one(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"))
    (held,) = lease(desk.person())
    stranger = desk.person("admin", tenant="other")
    assert stranger.lease_reviews(job_id=job_id) == []
    assert stranger.queues(job_id=job_id).queues == stranger.queues().queues == []

    def answer(task_id: str, action: str) -> tuple[int, str]:
        body = decision(held) if action == "decision" else {"lease_id": held.lease_id}
        refused = desk.post(stranger, f"/v1/reviews/{task_id}/{action}", body)
        return refused.status_code, refused.json()["detail"].replace(task_id, "")

    unknown = uuid.uuid4().hex
    for action in ("decision", "renew", "release", "skip"):
        assert answer(held.task.id, action) == answer(unknown, action) == (404, "no task ")


def test_the_second_person_is_never_the_first(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"), exhaustivity_rate=1.0)
    ann, bob = desk.person(), desk.person("verifier")
    (held,) = lease(ann)
    ann.decide_review(held, "accept", active_seconds=1)
    eventually(lambda: [q.type for q in ann.queues(job_id=job_id).queues if q.waiting] == ["exhaustivity"])
    assert ann.lease_reviews() == ann.lease_reviews(types=["exhaustivity"]) == []
    (check,) = lease(bob, types=["exhaustivity"])
    bob.decide_review(check, "accept", active_seconds=1)
    eventually(lambda: ann.job(job_id).status == "complete")


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


def rle(x: int = 2, side: int = 6, **changes: Any) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": masks.encode(drawn(x, side)).decode(), **changes}


def pair_with(*drawn_masks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"kind": "edit", "pairs": [{"phrase": "dog", "masks": list(drawn_masks), **changes}]}


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


def test_skipped_and_released_tasks_and_what_the_queues_show(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"), runs.negative(), images=2)
    ann, bob = desk.person(), desk.person()
    eventually(lambda: sum(q.waiting for q in ann.queues(job_id=job_id).queues) == 4)
    (dog,) = ann.lease_reviews(types=["review"], phrase="Dogs")
    (wolf,) = ann.lease_reviews(types=["negative"])
    shown = {q.type: (q.waiting, q.leased, q.decided) for q in ann.queues(job_id=job_id).queues}
    assert shown == {"review": (1, 1, 0), "negative": (1, 1, 0)}
    ann.release_review(wolf)
    ann.skip_review(dog)
    ann.skip_review(lease(ann, types=["review"])[0])
    assert ann.lease_reviews(types=["review"]) == []
    assert len(lease(bob, 2, types=["review"])) == 2
    assert len(lease(ann, 2, types=["negative"])) == 2
    queues = desk.person("submitter").queues()
    assert sum(q.leased for q in queues.queues) == 4
    assert queues.waiting_by_reason == {}


def test_submitters_do_not_work_and_a_missing_mining_service_is_told(desk: Desk, tmp_path: Path) -> None:
    refused = desk.post(desk.person("submitter"), "/v1/reviews/lease", {})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    nowhere = f"unix:{tmp_path}/nobody.sock"
    with running(desk.adapters, mining_address=nowhere) as alone:
        answer = alone.client.post("/v1/reviews/lease", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers


async def work(who: ClientSettings) -> None:
    async with AsyncClient(who) as client:
        (held,) = await client.lease_reviews()
        lease = await client.renew_review(held)
        await client.release_review(held)
        (held,) = await client.lease_reviews()
        first = await client.decide_review(held, "reject", active_seconds=1)
        opened = await client.undo_review(first.task_id, first.id)
        assert opened.earlier.kind == "reject"
        await client.release_review(opened)
        held = await client.take_review(first.task_id)
        done = await client.decide_review(held, "accept", active_seconds=1)
        assert lease.task_id == done.task_id == held.task.id


def test_the_asynchronous_client_works_too(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"))
    ann = desk.person()
    eventually(lambda: ann.queues(job_id=job_id).queues)
    asyncio.run(work(ann.settings))
    eventually(lambda: ann.job(job_id).status == "complete")


def test_a_decision_is_taken_back_and_made_anew(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"), runs.negative())
    ann, bob = desk.person(), desk.person()
    held = {one.task.pair.phrase: one for one in lease(ann, 2, job_id=job_id)}
    dog = held["dog"]
    assert [(one.phrase, one.polarity) for one in dog.task.siblings] == [("wolf", "negative")]
    more = edited_pair(dog.task.pair, [*dog.task.pair.masks, drawn(15, 4)])
    done = ann.decide_review(dog, "edit", pairs=[more], active_seconds=3)
    ann.decide_review(held["wolf"], "accept", active_seconds=1)
    eventually(lambda: ann.job(job_id).status == "complete")

    body = {"id": "u-1", "decision_id": done.id}
    opened = desk.post(ann, f"/v1/reviews/{done.task_id}/undo", body)
    assert opened.status_code == 200
    answer = opened.json()
    assert answer["earlier"]["kind"] == "edit"
    assert [len(pair["masks"]) for pair in answer["earlier"]["pairs"]] == [2]
    assert (answer["task"]["id"], answer["task"]["round"]) == (done.task_id, 1)
    again = desk.post(ann, f"/v1/reviews/{done.task_id}/undo", body).json()
    assert {**again, "expires_at": ""} == {**answer, "expires_at": ""}
    eventually(lambda: ann.job(job_id).status == "waiting_for_people")
    assert [p.phrase for p in ann.annotations(dog.task.image.id, job_id=job_id).pairs] == ["wolf"]
    assert bob.lease_reviews(job_id=job_id) == []

    path = f"/v1/reviews/{done.task_id}/decision"
    anew = {"id": "d-2", "lease_id": answer["lease_id"], "kind": "accept", "active_seconds": 1}
    assert desk.post(ann, path, anew).status_code == 200
    eventually(lambda: ann.job(job_id).status == "complete")
    found = ann.annotations(dog.task.image.id, job_id=job_id).pairs
    assert [(p.phrase, len(p.masks)) for p in found] == [("dog", 1), ("wolf", 0)]
    assert ann.report(job_id).decisions == 2
    assert [one.kind for one in desk.decisions()].count(records_pb2.DECISION_KIND_UNDO) == 1


def test_why_a_decision_cannot_be_taken_back(desk: Desk) -> None:
    desk.submit(positive("dog"), exhaustivity_rate=1.0)
    ann, bob = desk.person(), desk.person()
    (held,) = lease(ann)
    with pytest.raises(Conflict, match="no decision"):
        ann.undo_review(held.task.id, "d-1")
    done = ann.decide_review(held, "accept", active_seconds=1)
    for who, decision_id, why in ((bob, done.id, "only who made"), (ann, "d-9", "not the one that stands")):
        with pytest.raises(Conflict, match=why) as told:
            who.undo_review(done.task_id, decision_id)
        assert told.value.status == 409
    for stranger, task_id in ((ann, uuid.uuid4().hex), (desk.person("admin", tenant="other"), done.task_id)):
        with pytest.raises(NotFound):
            stranger.undo_review(task_id, done.id)
    (check,) = lease(bob)
    with pytest.raises(Conflict, match="somebody works"):
        ann.undo_review(done.task_id, done.id)
    checked = bob.decide_review(check, "accept", active_seconds=1)
    with pytest.raises(Conflict, match="build on"):
        ann.undo_review(done.task_id, done.id)
    desk.clock.ahead += UNDO_SECONDS + 1
    with pytest.raises(Conflict, match="10 minutes"):
        bob.undo_review(checked.task_id, checked.id)
    for body in ({}, {"id": "", "decision_id": "d"}, {"id": "u"}, {"id": "u", "decision_id": "d", "by": "x"}):
        assert desk.post(ann, f"/v1/reviews/{done.task_id}/undo", body).status_code == 422


def test_a_page_that_lost_its_lease_takes_the_task_back_and_sends_its_draft(desk: Desk) -> None:
    desk.submit(positive("dog"), exhaustivity_rate=1.0)
    ann, bob = desk.person(), desk.person()
    (held,) = lease(ann)
    draft = decision(held, kind="reject", comment="drawn for an hour")
    path = f"/v1/reviews/{held.task.id}"
    desk.clock.ahead += LEASE_SECONDS + 1
    refused = desk.post(ann, f"{path}/decision", draft)
    assert (refused.status_code, refused.json()["code"]) == (412, "lease_lost")
    theirs = bob.take_review(held.task.id)
    refused = desk.post(ann, f"{path}/lease", None)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "somebody else" in refused.json()["detail"]
    assert "key" not in refused.text
    bob.release_review(theirs)
    back = desk.http.post(f"{path}/lease", headers=bearer(ann))  # without a body
    assert back.status_code == 200
    assert back.json()["task"] == held.task.model_dump(mode="json")
    assert ann.take_review(held.task.id).lease_id == back.json()["lease_id"]
    assert (
        desk.post(ann, f"{path}/decision", {**draft, "lease_id": back.json()["lease_id"]}).status_code == 200
    )
    with pytest.raises(AlreadyDecided):
        bob.take_review(held.task.id)
    with pytest.raises(NotFound):
        desk.person(tenant="other").take_review(held.task.id)


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


def test_the_command_line_takes_a_decision_back(desk: Desk) -> None:
    job_id = desk.submit(positive("dog"))
    ann = desk.person()
    (held,) = lease(ann)
    done = ann.decide_review(held, "reject", active_seconds=1)

    def tercet(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TERCET_URL": desk.url, "TERCET_API_KEY": ann.settings.key() or ""}
        command = [sys.executable, "-m", "gateway.cli", "reviews", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    refused = tercet("undo", done.task_id, "another")
    assert (refused.returncode, "not the one that stands" in refused.stderr) == (6, True)
    opened = tercet("undo", done.task_id, done.id, "--release")
    assert opened.returncode == 0, opened.stderr
    assert "reject" in opened.stdout
    (queue,) = json.loads(tercet("queues", "--job", job_id, "--json").stdout)["queues"]
    assert (queue["waiting"], queue["decided"]) == (1, 0)
    assert "stage 2" in tercet("queues").stdout
    lease_id = tercet("take", done.task_id).stdout.strip()
    assert ann.take_review(done.task_id).lease_id == lease_id

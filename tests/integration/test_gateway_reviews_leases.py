"""Tasks over REST: who is given one, who holds it and until when, and how it goes back."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AlreadyDecided, AsyncClient, Client, ClientSettings, LeaseLost, NotFound
from tests.support import runs
from tests.support.gateway_desks import LEASE_SECONDS, Desk, bearer, decision, lease, positive
from tests.support.gateways import running
from tests.support.polling import eventually


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

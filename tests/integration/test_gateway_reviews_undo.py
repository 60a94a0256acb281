"""Decisions taken back over REST and by the command line: made anew, or refused with the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import pytest

from gateway.client import Conflict, NotFound, edited_pair
from tercet.v1 import records_pb2
from tests.support import runs
from tests.support.gateway_desks import UNDO_SECONDS, Desk, drawn, lease, positive
from tests.support.polling import eventually


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

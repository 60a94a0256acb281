"""Undos in the log: what counts is its order to say; redeliveries, lost marks and rebuilds change nothing."""

from __future__ import annotations

import itertools
import uuid

import pytest

from services.core.errors import Conflict
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
    encode,
)
from services.mining import workers
from services.mining.view import PREFIX
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import SETTINGS, Desk, history, publish, record_of, run_view_worker, undo
from tests.support.views import dump

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT, EDIT = records_pb2.DECISION_KIND_ACCEPT, records_pb2.DECISION_KIND_EDIT
UNDO = records_pb2.DECISION_KIND_UNDO


def test_what_counts_is_the_logs_to_say(desk: Desk) -> None:
    answers = [workers.apply(desk.routing, one) for one in history(desk)]
    assert [len(answer) for answer in answers] == [0, 2, 0, 0, 1, 0, 0, 3, 0]
    assert desk.depths()["2:decided"] == 1


@pytest.mark.parametrize("start", range(9))
def test_redelivered_records_are_answered_the_same_and_change_nothing(desk: Desk, start: int) -> None:
    records = history(desk)
    answers = [workers.apply(desk.routing, one) for one in records]
    before = dump(desk.state, PREFIX)
    assert [workers.apply(desk.routing, one) for one in records[start:]] == answers[start:]
    assert dump(desk.state, PREFIX) == before


@pytest.mark.parametrize("lost", list(itertools.product([False, True], repeat=3)), ids=str)
def test_the_view_is_the_same_whichever_marks_were_lost(lost: tuple[bool, ...]) -> None:
    """People see what they did at once; a process that dies in between leaves it to the log."""
    dumps = []
    for losses in ((False, False, False), lost):
        desk = Desk()
        publish(desk, runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
        (mine,) = desk.lease()
        again = records_pb2.ReviewTask()
        again.CopyFrom(mine.task)
        again.round = 1
        first = runs.completed(mine.task, runs.decision(mine.task, id="d-1"))
        back = runs.completed(mine.task, runs.decision(mine.task, UNDO, id="u-1"))
        back.undone.CopyFrom(first.decision)
        second = runs.completed(again, runs.decision(again, id="d-2"))
        events = (first, back, second)
        for one, is_lost in zip(events, losses, strict=True):
            if not is_lost:
                keep = runs.SUBMITTED_AT + 60 + SETTINGS.mining_undo_seconds
                desk.view.mark(one, now=desk.clock.now(), keep_until=keep, lease_id="l", expires=2e9)
        for number, one in enumerate(events):
            for message in workers.apply(desk.routing, record_of(one, number)):
                if message.topic == REVIEW_REQUESTED:
                    desk.routing.requested(records_pb2.ReviewRequested.FromString(message.value))
        desk.clock.advance(1e9)  # all leases end
        desk.lease("nobody", job_id="none")
        dumps.append(dump(desk.state, PREFIX))
        desk.bus.close()
    assert dumps[0] == dumps[1]


def test_a_view_rebuilt_from_a_log_with_undos_is_equal(desk: Desk) -> None:
    runs_of = [
        runs.run("job-1", exhaustivity_rate=1.0),
        runs.run("job-2", stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD),
        runs.run("job-3", audit_rate=1.0),
    ]
    for number, of in enumerate(runs_of):
        for name in ("a", "b"):
            pairs = [runs.pair("dog"), runs.pair("cat", REVIEW), runs.negative("fox", REVIEW)]
            publish(desk, *(() if number == 1 else pairs), of=of, name=name)
    undone = 0
    for number in range(24):
        person = ("ann", "bob", "eve", "tom")[number % 4]
        for leased in desk.lease(person, max_tasks=3):
            decide(desk, leased, person, number)
            if number % 2:
                run_view_worker(desk)
            if number % 3 == 0:
                try:
                    answer = undo(
                        desk,
                        leased.task.id,
                        id=uuid.uuid4().hex,
                        decision_id=f"{number}-{leased.task.id}",
                        annotator=person,
                    )
                except Conflict:
                    continue
                undone += 1
                if number % 2:
                    decide(desk, answer.task, person, number + 100)
        run_view_worker(desk)
    assert undone > 5
    cancelled = records_pb2.JobEvent(job_id="job-3", tenant="acme", cancelled=records_pb2.JobCancelled())
    desk.bus.publish([encode(JOBS_EVENTS, cancelled, key="job-3", tenant="acme", job_id="job-3")])
    run_view_worker(desk)
    desk.clock.advance(SETTINGS.mining_lease_seconds + 1)
    desk.lease("nobody", job_id="none")
    before = dump(desk.state, PREFIX)
    for _ in range(2):
        workers.rebuild(desk.bus, desk.state, desk.routing)
        assert without_who_looked(dump(desk.state, PREFIX)) == without_who_looked(before)
    answers = [workers.apply(desk.routing, one) for one in desk.bus.read([REVIEW_COMPLETED])]
    written = [message.value for message in desk.bus.read([ANNOTATIONS_ACCEPTED])]
    flat = [m.value for answer in answers for m in answer if m.topic == ANNOTATIONS_ACCEPTED]
    assert sorted(flat) == sorted(v for v in written if records_pb2.AnnotationsAccepted.FromString(v).task_id)


def without_who_looked(found: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in found.items() if ":people:" not in key}


def decide(desk: Desk, leased: mining_pb2.LeasedTask, person: str, number: int) -> None:
    kind = leased.task.type
    whole = kind in (records_pb2.TASK_TYPE_ANNOTATE, records_pb2.TASK_TYPE_ADJUDICATE)
    phrase = "dog" if number % 5 else f"thing {leased.task.copy}"
    desk.submit(
        leased,
        EDIT if whole else ACCEPT,
        annotator=person,
        id=f"{number}-{leased.task.id}",
        pairs=[runs.pair(phrase)] if whole else (),
    )

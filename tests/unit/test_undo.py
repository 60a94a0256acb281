"""Undo: an event of the log that opens a task again, refused where others build on the decision."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.core.errors import (
    AlreadyDecided,
    Conflict,
    Forbidden,
    InvalidInput,
    LeaseLost,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.kit.bus.ports import Message
from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, REVIEW_COMPLETED, encode
from services.mining.view import PREFIX
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import (
    SETTINGS,
    Desk,
    FailingBus,
    phrases,
    publish,
    run_view_worker,
    take,
    undo,
)
from tests.support.views import dump

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT, EDIT = records_pb2.DECISION_KIND_ACCEPT, records_pb2.DECISION_KIND_EDIT
UNDO = records_pb2.DECISION_KIND_UNDO


def accepted(desk: Desk) -> list[records_pb2.AnnotationsAccepted]:
    found = desk.bus.read([ANNOTATIONS_ACCEPTED])
    return [records_pb2.AnnotationsAccepted.FromString(record.value) for record in found]


@pytest.fixture(params=[True, False], ids=["worker keeps up", "worker lags"])
def keeps_up(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_an_undone_task_is_held_by_its_person_and_can_be_decided_anew(desk: Desk, keeps_up: bool) -> None:
    publish(desk, runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.submit(mine, EDIT, pairs=[runs.pair("cat", masks=[runs.mask(8)])])
    if keeps_up:
        run_view_worker(desk)
    answer = undo(desk, mine.task.id)
    assert (answer.earlier.kind, answer.earlier.id) == (EDIT, "d-1")
    assert answer.earlier.pairs[0].masks[0].counts == runs.mask(8).counts
    assert answer.task.task.round == 1
    assert desk.depths() == {"2:leased": 1}
    assert desk.lease("bob") == []
    if keeps_up:
        run_view_worker(desk)
        assert desk.depths() == {"2:leased": 1}
    with pytest.raises(LeaseLost):
        desk.submit(mine, id="d-2")  # the lease of before
    with pytest.raises(Conflict, match="stands for another"):
        desk.submit(answer.task, id="d-1")
    assert not desk.submit(answer.task, id="d-2").repeated_submission
    run_view_worker(desk)
    assert desk.depths() == {"2:decided": 1}
    assert [(r.decision.id, r.decision.kind, r.undone.id, r.task.round) for r in desk.completed()] == [
        ("d-1", EDIT, "", 0),
        ("u-1", UNDO, "d-1", 0),
        ("d-2", ACCEPT, "", 1),
    ]
    assert [(a.round, a.withdrawn, len(a.pairs)) for a in accepted(desk) if a.task_id] == [
        (0, False, 1),
        (0, True, 0),
        (1, False, 1),
    ]


def test_the_same_undo_again_is_answered_as_the_first_time(desk: Desk, keeps_up: bool) -> None:
    publish(desk, runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.submit(mine)
    first = undo(desk, mine.task.id)
    if keeps_up:
        run_view_worker(desk)
    again = undo(desk, mine.task.id)
    assert again == first
    desk.clock.advance(SETTINGS.mining_lease_seconds + 1)
    third = undo(desk, mine.task.id)  # the lease has ended: held once more
    assert third.task.lease_id != first.task.lease_id
    assert third.earlier == first.earlier
    with pytest.raises(Conflict, match="stands for another undo"):
        undo(desk, mine.task.id, decision_id="d-9")
    with pytest.raises(Conflict, match="undone already"):
        undo(desk, mine.task.id, id="u-2")
    desk.submit(third.task, id="d-2")
    with pytest.raises(Conflict, match="decided again"):
        undo(desk, mine.task.id)
    assert sum(r.decision.kind == UNDO for r in desk.completed()) == 1


def test_only_ones_own_standing_decision_can_be_undone_and_only_for_a_while(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), runs.pair("dog", REVIEW))
    mine, other = desk.lease(max_tasks=2)
    with pytest.raises(Conflict, match="no decision"):
        undo(desk, mine.task.id)
    desk.submit(mine)
    with pytest.raises(Conflict, match="only who made"):
        undo(desk, mine.task.id, annotator="bob")
    with pytest.raises(Conflict, match="not the one that stands"):
        undo(desk, mine.task.id, decision_id="d-2")
    for wrong in ({"tenant": "other"}, {"task_id": "nothing"}):
        with pytest.raises(NotFound):
            undo(desk, **{"task_id": mine.task.id, **wrong})
    for empty in ({"id": ""}, {"decision_id": ""}, {"annotator": ""}, {"id": "x" * 129}):
        with pytest.raises(InvalidInput):
            undo(desk, mine.task.id, **empty)
    decided_at = runs.SUBMITTED_AT + 60
    desk.clock.advance(decided_at + SETTINGS.mining_undo_seconds + 1 - desk.clock.now())
    with pytest.raises(Conflict, match="15 minutes"):
        undo(desk, mine.task.id)
    assert [r.decision.kind for r in desk.completed()] == [ACCEPT]
    assert other.task.id != mine.task.id


def test_a_decision_stays_once_others_build_on_it(desk: Desk, keeps_up: bool) -> None:
    publish(desk, runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (mine,) = desk.lease()
    desk.submit(mine)
    run_view_worker(desk)
    (check,) = desk.lease("bob")
    with pytest.raises(Conflict, match="somebody works"):
        undo(desk, mine.task.id)
    desk.submit(check, annotator="bob", id="d-2")
    if keeps_up:
        run_view_worker(desk)
    with pytest.raises(Conflict, match="build on this"):
        undo(desk, mine.task.id)
    undo(desk, check.task.id, decision_id="d-2", annotator="bob")
    desk.reviewing.give_back(
        "acme", check.task.id, take(desk, check.task.id, "bob").lease_id, skip=False, annotator="bob"
    )
    undo(desk, mine.task.id)  # now nobody does


def test_the_check_of_an_undone_decision_is_gone_whenever_it_comes(desk: Desk, keeps_up: bool) -> None:
    publish(desk, runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (mine,) = desk.lease()
    desk.submit(mine)
    if keeps_up:
        run_view_worker(desk)
        assert desk.depths()["3:waiting"] == 1
    answer = undo(desk, mine.task.id)
    assert desk.lease("bob") == []  # the check is there, perhaps, and about to go
    run_view_worker(desk)
    assert desk.depths() == {"2:leased": 1}
    desk.submit(answer.task, id="d-2")
    run_view_worker(desk)
    (check,) = desk.lease("bob")
    desk.submit(check, annotator="bob", id="d-3")
    run_view_worker(desk)
    assert desk.depths() == {"2:decided": 1, "3:decided": 1}
    assert [(a.withdrawn, a.tasks_opened) for a in accepted(desk) if a.task_id == mine.task.id] == [
        (False, 1),
        (True, 1),
        (False, 1),
    ]


def test_who_decides_a_task_that_was_taken_away_hears_why(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (mine,) = desk.lease()
    desk.submit(mine)
    run_view_worker(desk)
    (check,) = desk.lease("bob")
    record = records_pb2.ReviewCompleted(
        tenant="acme",
        task=mine.task,
        decision=runs.decision(mine.task, UNDO, id="u-1"),
        undone=desk.completed()[0].decision,
    )  # an undo that was asked for before bob took the check
    desk.bus.publish([encode(REVIEW_COMPLETED, record, key="k", tenant="acme", job_id="job-1")])
    run_view_worker(desk)
    with pytest.raises(LeaseLost, match="taken back"):
        desk.submit(check, annotator="bob", id="d-2")
    with pytest.raises(Conflict, match="taken back"):
        take(desk, check.task.id, "bob")
    with pytest.raises(LeaseLost, match="taken back"):
        desk.reviewing.give_back("acme", check.task.id, check.lease_id, skip=False)
    assert phrases(desk.lease("ann")) == ["cat"]


def test_an_undo_that_was_not_written_changes_nothing() -> None:
    bus = FailingBus()
    desk = Desk(bus=bus)
    publish(desk, runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (mine,) = desk.lease()
    desk.submit(mine)
    run_view_worker(desk)
    before = dump(desk.state, PREFIX)
    bus.error = Overloaded("too much in flight")
    with pytest.raises(Overloaded):
        undo(desk, mine.task.id)
    assert dump(desk.state, PREFIX) == before
    bus.error = Unavailable("Kafka is away")
    with pytest.raises(Unavailable):
        undo(desk, mine.task.id)
    with pytest.raises(Conflict, match="being stored"):
        undo(desk, mine.task.id, id="u-2")
    assert desk.lease("bob") == []  # not the check, while the undo may be in the log
    bus.error = None
    assert undo(desk, mine.task.id).earlier.id == "d-1"
    bus.close()


def test_a_worker_that_is_quicker_than_the_caller_keeps_the_task_for_them(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.submit(mine)
    run_view_worker(desk)

    def quick(messages: Sequence[Message]) -> None:
        type(desk.bus).publish(desk.bus, messages)
        run_view_worker(desk)
        assert desk.lease("bob") == []

    desk.reviewing._bus = type("Quick", (), {"publish": staticmethod(quick)})()
    answer = undo(desk, mine.task.id)
    assert answer.task.task.round == 1
    assert desk.depths() == {"2:leased": 1}


def test_a_gold_copy_is_not_undone_by_who_has_seen_the_others(desk: Desk) -> None:
    gold = runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)
    publish(desk, of=gold)
    (first,) = desk.lease("ann")
    desk.submit(first, EDIT, pairs=[runs.pair("dog")])
    run_view_worker(desk)
    undone = undo(desk, first.task.id)
    run_view_worker(desk)
    assert desk.lease("ann", max_tasks=9) == []  # at work on her copy
    desk.submit(undone.task, EDIT, pairs=[runs.pair("dog")], id="d-2")
    (second,) = desk.lease("bob")
    desk.submit(second, EDIT, annotator="bob", pairs=[runs.pair("dog")], id="d-3")
    run_view_worker(desk)
    (check,) = desk.lease("ann", max_tasks=9)
    assert list(check.task.excluded_annotators) == ["bob"]
    with pytest.raises(Conflict, match="have seen"):
        undo(desk, first.task.id, id="u-2", decision_id="d-2")


def test_one_task_is_taken_by_name(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (mine,) = desk.lease()
    desk.clock.advance(100)
    again = take(desk, mine.task.id)
    assert again.lease_id == mine.lease_id
    assert again.expires_at.ToMilliseconds() == mine.expires_at.ToMilliseconds() + 100_000
    with pytest.raises(Conflict, match="somebody else") as told:
        take(desk, mine.task.id, "bob")
    assert "ann" not in str(told.value)
    desk.clock.advance(SETTINGS.mining_lease_seconds + 1)
    with pytest.raises(LeaseLost, match="went back"):
        desk.submit(mine)
    back = take(desk, mine.task.id)
    assert back.lease_id != mine.lease_id
    assert not desk.submit(back).repeated_submission  # the very decision that was refused
    with pytest.raises(AlreadyDecided):
        take(desk, mine.task.id)
    run_view_worker(desk)
    (check,) = desk.lease("bob")
    desk.reviewing.give_back("acme", check.task.id, check.lease_id, skip=True)
    with pytest.raises(Forbidden, match="your own work"):
        take(desk, check.task.id)
    with pytest.raises(Forbidden, match="leads"):
        take(desk, check.task.id, "bob", types=[records_pb2.TASK_TYPE_REVIEW])
    assert take(desk, check.task.id, "bob").task == check.task  # skipped, and asked for after all
    with pytest.raises(NotFound):
        take(desk, "nothing")
    with pytest.raises(InvalidInput):
        take(desk, mine.task.id, "")


def test_tasks_of_a_cancelled_job_are_neither_taken_nor_undone(desk: Desk) -> None:
    publish(desk, runs.pair("cat", REVIEW), runs.pair("dog", REVIEW))
    (mine,) = desk.lease()
    desk.submit(mine)
    (other,) = desk.lease()
    desk.reviewing.give_back("acme", other.task.id, other.lease_id, skip=False)
    desk.view.cancel("acme", "job-1")
    with pytest.raises(Conflict, match="cancelled"):
        undo(desk, mine.task.id)
    with pytest.raises(Conflict, match="cancelled"):
        take(desk, other.task.id)

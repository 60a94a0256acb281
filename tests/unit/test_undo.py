"""Undo: an event of the log that opens a task again, refused where others build on the decision."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence

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
from services.kit.bus.ports import Message, Record
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
from tests.support.views import dump
from tests.unit.test_leases import AT_MS, SETTINGS, Desk, _FailingBus, phrases, run_view_worker

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT, EDIT = records_pb2.DECISION_KIND_ACCEPT, records_pb2.DECISION_KIND_EDIT
UNDO = records_pb2.DECISION_KIND_UNDO


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.bus.close()


def publish(
    desk: Desk, *pairs: concepts_pb2.Pair, of: records_pb2.Run | None = None, name: str = "one.png"
) -> None:
    """The image's tasks, in the log and in the view."""
    desk.bus.publish(desk.routing.route(runs.verified(pairs, of=of, name=name), AT_MS))
    run_view_worker(desk)


def undo(
    desk: Desk,
    task_id: str,
    *,
    id: str = "u-1",  # noqa: A002 - the field's name
    decision_id: str = "d-1",
    annotator: str = "ann",
    tenant: str = "acme",
) -> mining_pb2.UndoReviewResponse:
    return desk.reviewing.undo(
        mining_pb2.UndoReviewRequest(
            tenant=tenant, task_id=task_id, id=id, decision_id=decision_id, annotator=annotator
        )
    )


def take(desk: Desk, task_id: str, annotator: str = "ann", **more: object) -> mining_pb2.LeasedTask:
    request = mining_pb2.TakeTaskRequest(tenant="acme", task_id=task_id, annotator=annotator, **more)  # type: ignore[arg-type]
    return desk.reviewing.take(request).task


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
    bus = _FailingBus()
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


# -- the log's order, redeliveries, rebuilds


def record(completed: records_pb2.ReviewCompleted, offset: int) -> Record:
    return Record(
        topic=REVIEW_COMPLETED,
        key=completed.task.image.id,
        value=completed.SerializeToString(deterministic=True),
        partition=1,
        offset=offset,
        timestamp_ms=AT_MS + offset,
    )


def history(desk: Desk, rate: float = 1.0) -> list[Record]:
    """A decision, its undo, another decision, and records that do not count in between."""
    desk.open(runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=rate))
    (mine,) = desk.lease()
    task, again = mine.task, records_pb2.ReviewTask()
    again.CopyFrom(task)
    again.round = 1
    first = runs.decision(task, id="d-1")
    second = runs.decision(again, EDIT, id="d-2", pairs=[runs.pair("cat"), runs.pair("kite")])

    def taken_back(by: str, of: records_pb2.ReviewDecision, undo_id: str) -> records_pb2.ReviewCompleted:
        made = runs.completed(task, runs.decision(task, UNDO, id=undo_id, annotator=by))
        made.undone.CopyFrom(of)
        return made

    events = [
        taken_back("ann", first, "early"),
        runs.completed(task, first),
        runs.completed(task, runs.decision(task, id="late", annotator="bob")),
        taken_back("bob", first, "of another"),
        taken_back("ann", first, "u-1"),
        runs.completed(task, first),  # written twice, its outcome was unknown
        taken_back("ann", first, "u-1"),
        runs.completed(again, second),
        runs.completed(again, runs.decision(again, id="late again")),
    ]
    return [record(one, 10 + 3 * number) for number, one in enumerate(events)]


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
            for message in workers.apply(desk.routing, record(one, number)):
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

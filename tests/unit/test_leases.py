"""Leases: urgency, one holder at a time, expiry, second persons, gold, skips, decisions in log order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import redis

from services.core.errors import (
    AlreadyDecided,
    Conflict,
    InvalidInput,
    LeaseLost,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import connect
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message, Record
from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, REVIEW_COMPLETED, REVIEW_REQUESTED
from services.kit.clock import ManualClock
from services.kit.state.embedded import embedded
from services.mining import workers
from services.mining.domain import route, timestamp
from services.mining.handlers import Routing
from services.mining.priority import Weights
from services.mining.reviewing import Reviewing
from services.mining.settings import MiningSettings
from services.mining.view import PREFIX, TaskView
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2
from tests.support import runs
from tests.support.views import dump

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT = records_pb2.DECISION_KIND_ACCEPT
SETTINGS = MiningSettings()
AT_MS = 1_700_000_000_000
BLOBS = connect("memory://desk")


@dataclass
class Desk:
    """Mining with embedded adapters."""

    bus: EmbeddedBus = field(default_factory=EmbeddedBus)
    state: redis.Redis = field(default_factory=embedded)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.view = TaskView(self.state)
        self.routing = Routing(self.view, ImageStore(BLOBS), BLOBS, self.clock, SETTINGS)
        self.reviewing = Reviewing(self.view, self.bus, self.clock, SETTINGS)

    def open(
        self, *pairs: concepts_pb2.Pair, name: str = "one.png", of: records_pb2.Run | None = None
    ) -> None:
        """Tasks for the pairs of an image, in the view."""
        verified = runs.verified(pairs, name=name, of=of)
        for task in route(verified, timestamp(AT_MS), {}, Weights()).tasks:
            self.view.add(task)

    def lease(
        self,
        annotator: str = "ann",
        *,
        tenant: str = "acme",
        types: Sequence[records_pb2.TaskType.ValueType] = (),
        job_id: str = "",
        phrase: str = "",
        max_tasks: int = 1,
    ) -> list[mining_pb2.LeasedTask]:
        request = mining_pb2.LeaseTaskRequest(
            tenant=tenant,
            annotator=annotator,
            types=types,
            job_id=job_id,
            phrase=phrase,
            max_tasks=max_tasks,
        )
        return list(self.reviewing.lease(request).tasks)

    def submit(
        self,
        leased: mining_pb2.LeasedTask,
        kind: records_pb2.DecisionKind.ValueType = ACCEPT,
        *,
        id: str = "d-1",  # noqa: A002 - the field's name
        annotator: str = "ann",
        pairs: Sequence[concepts_pb2.Pair] = (),
        tenant: str = "acme",
    ) -> mining_pb2.SubmitReviewResponse:
        decision = runs.decision(leased.task, kind, id=id, annotator=annotator, pairs=pairs)
        return self.reviewing.submit(
            mining_pb2.SubmitReviewRequest(tenant=tenant, lease_id=leased.lease_id, decision=decision)
        )

    def completed(self) -> list[records_pb2.ReviewCompleted]:
        return [records_pb2.ReviewCompleted.FromString(r.value) for r in self.bus.read([REVIEW_COMPLETED])]

    def depths(self, job_id: str = "") -> dict[str, int]:
        return self.view.depths("acme", job_id, now=self.clock.now())


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.bus.close()


def phrases(leased: Sequence[mining_pb2.LeasedTask]) -> list[str]:
    return [one.task.pair.phrase for one in leased]


def test_the_most_urgent_comes_first_and_then_none(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW, score=0.88), runs.pair("dog", REVIEW, score=0.71))
    assert phrases(desk.lease()) == ["dog"]
    assert phrases(desk.lease("bob")) == ["cat"]
    assert desk.lease("eve") == []


def test_several_tasks_prefer_the_same_image(desk: Desk) -> None:
    desk.open(runs.pair("a1", REVIEW, score=0.7), runs.pair("a2", REVIEW, score=0.89), name="a")
    desk.open(runs.pair("b1", REVIEW, score=0.75), runs.pair("b2", REVIEW, score=0.8), name="b")
    assert phrases(desk.lease(max_tasks=3)) == ["a1", "a2", "b1"]


def test_filters_by_type_job_phrase_and_tenant(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW), runs.negative("wolf", REVIEW), of=runs.run("job-1"))
    desk.open(runs.pair("cat", REVIEW), runs.pair("dog", REVIEW), of=runs.run("job-2"))
    assert desk.lease(tenant="other", max_tasks=9) == []
    negatives = desk.lease(types=[records_pb2.TASK_TYPE_NEGATIVE], max_tasks=9)
    assert phrases(negatives) == ["wolf"]
    (cat,) = desk.lease(job_id="job-2", phrase="cat", max_tasks=9)
    assert (cat.task.run.job_id, cat.task.pair.phrase) == ("job-2", "cat")
    assert [one.task.run.job_id for one in desk.lease(phrase="cat", max_tasks=9)] == ["job-1"]
    assert phrases(desk.lease(job_id="job-2", max_tasks=9)) == ["dog"]


@pytest.mark.parametrize(("max_tasks", "annotator"), [(-1, "ann"), (101, "ann"), (1, "")])
def test_a_wrong_request_is_refused(desk: Desk, max_tasks: int, annotator: str) -> None:
    with pytest.raises(InvalidInput):
        desk.lease(annotator, max_tasks=max_tasks)


def test_an_answer_holds_no_more_than_a_message_may(desk: Desk) -> None:
    large = [runs.pair(f"thing {n}", REVIEW) for n in range(3)]
    for pair in large:
        pair.masks[0].provenance.model.weights = "x" * (2 * 1024 * 1024)
    desk.open(*large)
    assert len(desk.lease(max_tasks=3)) == 1
    assert desk.depths()["2:waiting"] == 2
    assert len(desk.lease("bob", max_tasks=3)) == 1


def test_two_people_never_hold_one_task(desk: Desk) -> None:
    desk.open(*(runs.pair(f"thing {n}", REVIEW) for n in range(30)))
    taken: list[list[str]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        while got := desk.lease(f"person {number}", max_tasks=2):
            taken[number] += [one.task.id for one in got]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [task for one in taken for task in one]
    assert (len(everything), len(set(everything))) == (30, 30)


def test_an_expired_lease_goes_back_and_the_late_submit_is_refused(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.clock.advance(SETTINGS.mining_lease_seconds + 1)
    with pytest.raises(LeaseLost, match="went back to the queue"):
        desk.submit(mine)
    (theirs,) = desk.lease("bob")
    assert theirs.task.id == mine.task.id
    with pytest.raises(LeaseLost, match="someone else"):
        desk.submit(mine)
    with pytest.raises(LeaseLost):
        desk.reviewing.renew(
            mining_pb2.RenewLeaseRequest(tenant="acme", task_id=mine.task.id, lease_id=mine.lease_id)
        )
    assert desk.completed() == []


def test_a_renewed_lease_lasts(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    for _ in range(3):
        desk.clock.advance(SETTINGS.mining_lease_seconds * 0.9)
        answer = desk.reviewing.renew(
            mining_pb2.RenewLeaseRequest(tenant="acme", task_id=mine.task.id, lease_id=mine.lease_id)
        )
        until = desk.clock.now() + SETTINGS.mining_lease_seconds
        assert answer.expires_at.ToMilliseconds() == round(until * 1000)
    assert desk.lease("bob") == []
    assert not desk.submit(mine).repeated_submission


def test_submit_writes_the_decision_before_it_marks_it(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    assert not desk.submit(mine).repeated_submission
    (record,) = desk.completed()
    assert (record.tenant, record.decision.annotator, record.task.id) == ("acme", "ann", mine.task.id)
    assert desk.depths() == {"2:decided": 1}


def test_the_same_decision_again_is_repeated_and_another_is_too_late(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.submit(mine)
    assert desk.submit(mine).repeated_submission
    with pytest.raises(AlreadyDecided):
        desk.submit(mine, id="d-2")
    assert len(desk.completed()) == 1


def test_a_decision_id_stands_for_one_decision_by_one_person(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (held,) = desk.lease()
    desk.submit(held)
    with pytest.raises(Conflict, match="stands for another decision"):
        desk.submit(held, records_pb2.DECISION_KIND_REJECT)
    with pytest.raises(AlreadyDecided):
        desk.submit(held, annotator="bob")
    desk.routing.completed(desk.completed()[0], "0/0", AT_MS)
    with pytest.raises(Conflict, match="stands for another decision"):
        desk.submit(held, records_pb2.DECISION_KIND_REJECT)
    assert desk.submit(held).repeated_submission
    assert len(desk.completed()) == 1


def test_only_the_holder_renews_or_gives_back(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (held,) = desk.lease()
    with pytest.raises(LeaseLost, match="someone else"):
        desk.reviewing.give_back("acme", held.task.id, held.lease_id, skip=False, annotator="bob")
    renewal = mining_pb2.RenewLeaseRequest(tenant="acme", task_id=held.task.id, lease_id=held.lease_id)
    desk.reviewing.renew(renewal)
    renewal.annotator = "bob"
    with pytest.raises(LeaseLost, match="someone else"):
        desk.reviewing.renew(renewal)
    desk.reviewing.give_back("acme", held.task.id, held.lease_id, skip=True, annotator="ann")
    assert not desk.lease()
    assert desk.lease("bob")


def test_the_phrase_asked_for_is_normalised(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW), runs.pair("dog", REVIEW))
    assert phrases(desk.lease(phrase="The Dogs", max_tasks=5)) == ["dog"]


def test_unknown_and_foreign_tasks_are_not_found(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    with pytest.raises(NotFound):
        desk.submit(mine, tenant="other")
    with pytest.raises(NotFound):
        desk.reviewing.give_back("other", mine.task.id, mine.lease_id, skip=False)


def test_a_decision_needs_its_own_lease(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    with pytest.raises(LeaseLost, match="someone else"):
        desk.submit(mine, annotator="bob")


class _FailingBus(EmbeddedBus):
    """A bus whose next publish fails."""

    error: Exception | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        if self.error is not None:
            raise self.error
        super().publish(messages)


def test_a_decision_that_was_not_written_is_not_marked() -> None:
    bus = _FailingBus()
    desk = Desk(bus=bus)
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    bus.error = Unavailable("Kafka is away")
    with pytest.raises(Unavailable):
        desk.submit(mine)
    assert desk.depths()["2:leased"] == 1
    with pytest.raises(Conflict):  # the first may have been written after all
        desk.submit(mine, id="d-2")
    bus.error = None
    assert not desk.submit(mine).repeated_submission
    assert len(desk.completed()) == 1


def test_a_decision_that_was_refused_for_sure_leaves_the_task_free_for_another() -> None:
    bus = _FailingBus()
    desk = Desk(bus=bus)
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    bus.error = Overloaded("too much in flight")
    with pytest.raises(Overloaded):
        desk.submit(mine)
    bus.error = None
    desk.submit(mine, id="d-2")
    assert [record.decision.id for record in desk.completed()] == ["d-2"]


def test_released_tasks_come_back_and_skipped_ones_only_to_others(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.reviewing.give_back("acme", mine.task.id, mine.lease_id, skip=False)
    (mine,) = desk.lease()
    desk.reviewing.give_back("acme", mine.task.id, mine.lease_id, skip=True)
    assert desk.lease() == []
    assert phrases(desk.lease("bob")) == ["cat"]


def test_the_second_person_is_never_the_first(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=1.0))
    (mine,) = desk.lease()
    desk.submit(mine)
    run_view_worker(desk)
    assert desk.lease() == []
    (check,) = desk.lease("bob")
    assert check.task.type == records_pb2.TASK_TYPE_EXHAUSTIVITY


def test_gold_copies_go_to_three_people_who_never_see_each_others_work(desk: Desk) -> None:
    stage_1 = runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)
    desk.open(of=stage_1)
    (first,) = desk.lease("ann", max_tasks=9)
    (second,) = desk.lease("bob", max_tasks=9)
    edit = records_pb2.DECISION_KIND_EDIT
    desk.submit(first, edit, annotator="ann", pairs=[runs.pair("dog")])
    run_view_worker(desk)
    assert desk.lease("ann", max_tasks=9) == []  # not a copy again, and not her own work to check
    assert desk.lease("bob", max_tasks=9) == []  # not the other's work while his own is open
    (third,) = desk.lease("eve", types=[records_pb2.TASK_TYPE_ANNOTATE])
    assert {first.task.copy, second.task.copy, third.task.copy} == {0, 1, 2}
    desk.submit(second, edit, annotator="bob", pairs=[runs.pair("dog")], id="d-2")
    run_view_worker(desk)
    (check,) = desk.lease("bob", max_tasks=9)
    assert list(check.task.excluded_annotators) == ["ann"]


def test_who_has_seen_the_work_of_others_gets_no_copy(desk: Desk) -> None:
    stage_1 = runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)
    desk.open(of=stage_1)
    (first,) = desk.lease("ann")
    desk.submit(first, records_pb2.DECISION_KIND_EDIT, pairs=[runs.pair("dog")])
    run_view_worker(desk)
    (check,) = desk.lease("eve", types=[records_pb2.TASK_TYPE_EXHAUSTIVITY])
    desk.reviewing.give_back("acme", check.task.id, check.lease_id, skip=False)
    assert desk.lease("eve", types=[records_pb2.TASK_TYPE_ANNOTATE]) == []


def test_a_released_gold_copy_can_be_taken_again(desk: Desk) -> None:
    desk.open(of=runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD))
    (first,) = desk.lease("ann")
    desk.reviewing.give_back("acme", first.task.id, first.lease_id, skip=False)
    assert len(desk.lease("ann")) == 1


def test_a_cancelled_job_has_no_tasks(desk: Desk) -> None:
    desk.open(*(runs.pair(f"thing {n}", REVIEW) for n in range(5)))
    desk.open(runs.pair("cat", REVIEW), of=runs.run("job-2"))
    (mine,) = desk.lease(job_id="job-1")
    desk.view.cancel("acme", "job-1")
    assert phrases(desk.lease("bob", max_tasks=9)) == ["cat"]
    desk.open(runs.pair("late", REVIEW))
    assert desk.lease("bob", max_tasks=9) == []
    desk.clock.advance(SETTINGS.mining_lease_seconds + 1)
    with pytest.raises(LeaseLost, match="cancelled"):
        desk.submit(mine)
    assert desk.depths("job-1") == {}


def test_depths_by_type_and_reason(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW, score=0.3), runs.negative("wolf", REVIEW))
    desk.lease(types=[records_pb2.TASK_TYPE_NEGATIVE])
    stats = desk.reviewing.stats(mining_pb2.QueueStatsRequest(tenant="acme", job_id="job-1"))
    assert [(q.type, q.waiting, q.leased, q.decided) for q in stats.queues] == [
        (records_pb2.TASK_TYPE_REVIEW, 1, 0, 0),
        (records_pb2.TASK_TYPE_NEGATIVE, 0, 1, 0),
    ]
    assert stats.waiting_by_reason["low score"] == 1
    assert stats.waiting_by_reason["verdict review"] == 1
    assert not desk.reviewing.stats(mining_pb2.QueueStatsRequest(tenant="other")).queues


# -- the log's order


def record_of(completed: records_pb2.ReviewCompleted, offset: int) -> Record:
    return Record(
        topic=REVIEW_COMPLETED,
        key=completed.task.image.id,
        value=completed.SerializeToString(deterministic=True),
        partition=2,
        offset=offset,
        timestamp_ms=AT_MS + offset,
    )


def run_view_worker(desk: Desk) -> None:
    """Everything in the log into the view, with what follows from it, as often as anything follows."""
    consumer = desk.bus.subscribe(group=workers.VIEW_GROUP, topics=workers.VIEW_TOPICS)
    while records := consumer.poll(max_records=16, timeout=0.0):
        outputs = [message for record in records for message in workers.apply(desk.routing, record)]
        consumer.commit(records, outputs)
    consumer.close()


def test_the_first_decision_of_the_log_wins_and_a_redelivery_answers_the_same(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    first = record_of(runs.completed(mine.task, runs.decision(mine.task, id="d-1")), 7)
    second = record_of(
        runs.completed(mine.task, runs.decision(mine.task, records_pb2.DECISION_KIND_REJECT, id="d-2")), 9
    )
    answer = workers.apply(desk.routing, first)
    assert [message.topic for message in answer] == [ANNOTATIONS_ACCEPTED]
    before = dump(desk.state, PREFIX)
    assert workers.apply(desk.routing, second) == ()
    assert (
        workers.apply(desk.routing, first) == answer
    )  # its transaction was not committed: again, the same bytes
    assert dump(desk.state, PREFIX) == before


def test_the_log_overrules_what_a_submitter_has_marked(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.submit(mine, id="d-2")
    earlier = record_of(runs.completed(mine.task, runs.decision(mine.task, id="d-1")), 3)
    later = record_of(runs.completed(mine.task, runs.decision(mine.task, id="d-2")), 4)
    assert workers.apply(desk.routing, earlier) != ()
    assert workers.apply(desk.routing, later) == ()
    assert desk.depths() == {"2:decided": 1}


def test_a_decision_known_before_its_task_is_decided(desk: Desk) -> None:
    verified = runs.verified([runs.pair("cat", REVIEW)])
    (task,) = route(verified, timestamp(AT_MS), {}, Weights()).tasks
    assert workers.apply(desk.routing, record_of(runs.completed(task, runs.decision(task)), 0)) != ()
    desk.view.add(task)
    assert desk.lease() == []
    assert desk.depths() == {"2:decided": 1}


def test_the_view_rebuilt_from_the_log_is_equal(desk: Desk) -> None:
    stages = [
        runs.run("job-1", exhaustivity_rate=1.0),
        runs.run("job-2", stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD),
        runs.run("job-3"),
    ]
    for number, of in enumerate(stages):
        for name in ("a", "b"):
            pairs = [runs.pair("dog"), runs.pair("cat", REVIEW), runs.negative("fox", REVIEW)]
            record = runs.verified([] if number == 1 else pairs, name=name, of=of)
            desk.bus.publish(desk.routing.route(record, AT_MS))
    run_view_worker(desk)
    for number in range(6):
        person = ("ann", "bob", "eve")[number % 3]
        for leased in desk.lease(person, max_tasks=2):
            annotate = leased.task.type == records_pb2.TASK_TYPE_ANNOTATE
            desk.submit(
                leased,
                records_pb2.DECISION_KIND_EDIT if annotate else ACCEPT,
                annotator=person,
                id=f"{number}-{leased.task.id}",
                pairs=[runs.pair("dog")] if annotate else (),
            )
        run_view_worker(desk)
    cancelled = records_pb2.JobEvent(job_id="job-3", tenant="acme", cancelled=records_pb2.JobCancelled())
    desk.bus.publish(
        [Message(topic="jobs.events", key="job-3", value=cancelled.SerializeToString(deterministic=True))]
    )
    run_view_worker(desk)
    before = dump(desk.state, PREFIX)
    assert any("queue" in key for key in before)
    assert any("handled" in key for key in before)
    desk.state.flushall()
    workers.rebuild(desk.bus, desk.state, desk.routing)
    assert dump(desk.state, PREFIX) == before
    workers.rebuild(desk.bus, desk.state, desk.routing)
    assert dump(desk.state, PREFIX) == before
    assert sum(1 for _ in desk.bus.read([REVIEW_REQUESTED])) > 0

"""The log decides: its first decision wins, a redelivery changes nothing, a rebuilt view is equal."""

from __future__ import annotations

from services.kit.bus.ports import Message
from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, REVIEW_REQUESTED
from services.mining import workers
from services.mining.domain.routing import route
from services.mining.domain.tasks import timestamp
from services.mining.priority import Weights
from services.mining.view import PREFIX
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import AT_MS, Desk, record_of, run_view_worker
from tests.support.views import dump

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT = records_pb2.DECISION_KIND_ACCEPT


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

"""Leases: urgency, filters, one holder at a time, expiry, skips, queues' depths."""

from __future__ import annotations

import threading

import pytest

from services.core.errors import InvalidInput, LeaseLost, NotFound
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import SETTINGS, Desk, phrases

REVIEW = concepts_pb2.VERDICT_REVIEW


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


def test_released_tasks_come_back_and_skipped_ones_only_to_others(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    desk.reviewing.give_back("acme", mine.task.id, mine.lease_id, skip=False)
    (mine,) = desk.lease()
    desk.reviewing.give_back("acme", mine.task.id, mine.lease_id, skip=True)
    assert desk.lease() == []
    assert phrases(desk.lease("bob")) == ["cat"]


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

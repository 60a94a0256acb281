"""Decisions: written before they are marked, made once, by the holder, whatever the bus answers."""

from __future__ import annotations

import pytest

from services.core.errors import AlreadyDecided, Conflict, LeaseLost, Overloaded, Unavailable
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import AT_MS, Desk, FailingBus

REVIEW = concepts_pb2.VERDICT_REVIEW


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


def test_a_decision_needs_its_own_lease(desk: Desk) -> None:
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    with pytest.raises(LeaseLost, match="someone else"):
        desk.submit(mine, annotator="bob")


def test_a_decision_that_was_not_written_is_not_marked() -> None:
    bus = FailingBus()
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
    bus = FailingBus()
    desk = Desk(bus=bus)
    desk.open(runs.pair("cat", REVIEW))
    (mine,) = desk.lease()
    bus.error = Overloaded("too much in flight")
    with pytest.raises(Overloaded):
        desk.submit(mine)
    bus.error = None
    desk.submit(mine, id="d-2")
    assert [record.decision.id for record in desk.completed()] == ["d-2"]

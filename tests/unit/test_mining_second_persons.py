"""Second persons and gold: nobody checks their own work, and who annotates sees nobody else's."""

from __future__ import annotations

from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.mining_desks import Desk, run_view_worker

REVIEW = concepts_pb2.VERDICT_REVIEW


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

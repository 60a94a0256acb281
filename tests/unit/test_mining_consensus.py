"""Agreement of three annotators, and what goes to a lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.mining import consensus
from services.mining.domain import decisions, routing, tasks
from services.mining.priority import Weights
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs

AT = tasks.timestamp(1_700_000_123_456)
GOLD = runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)
ADJUDICATE = records_pb2.TASK_TYPE_ADJUDICATE
PEOPLE = ("ann", "bob", "eve")


def versions(*pairs: Sequence[concepts_pb2.Pair]) -> list[records_pb2.ReviewCompleted]:
    """What each of the three made of the image."""
    tasks = routing.route(runs.verified([], of=GOLD), AT, {}, Weights()).tasks
    return [
        runs.completed(task, runs.decision(task, records_pb2.DECISION_KIND_EDIT, annotator=who, pairs=made))
        for task, who, made in zip(tasks, PEOPLE, pairs, strict=True)
    ]


def squares(*xs: int, side: int = 4) -> concepts_pb2.Pair:
    return runs.pair("dog", masks=[runs.mask(x, 1, side) for x in xs])


def by_phrase(found: records_pb2.Agreement) -> dict[str, Any]:
    return {one.phrase: pytest.approx(one.agreement, abs=1e-6) for one in found.pairs}


def by_annotator(found: records_pb2.Agreement) -> list[Any]:
    return [pytest.approx(one.agreement, abs=1e-6) for one in found.annotators]


def test_the_same_masks_in_any_order_agree_wholly() -> None:
    found = consensus.agreement(versions([squares(1, 8)], [squares(8, 1)], [squares(1, 8)]))
    assert by_phrase(found) == {"dog": 1.0}
    assert by_annotator(found) == [1.0, 1.0, 1.0]
    assert [one.annotator for one in found.annotators] == list(PEOPLE)


def test_agreement_is_the_matched_iou_over_the_mean_number_of_masks() -> None:
    # One misses one of two: 2 * 1 / 3. A mask moved by one of four columns: IoU 12 / 20 = 0.6.
    found = consensus.agreement(versions([squares(1, 8)], [squares(1)], [squares(2, 8)]))
    ann_bob, ann_eve, bob_eve = 2 / 3, 2 * 1.6 / 4, 2 * 0.6 / 3
    assert by_phrase(found) == {"dog": (ann_bob + ann_eve + bob_eve) / 3}
    assert by_annotator(found) == [
        (ann_bob + ann_eve) / 2,
        (ann_bob + bob_eve) / 2,
        (ann_eve + bob_eve) / 2,
    ]


def test_masks_that_hardly_overlap_are_two_things() -> None:
    found = consensus.agreement(versions([squares(1)], [squares(3)], [squares(1)]))  # IoU 1 / 3
    assert by_phrase(found) == {"dog": 1 / 3}


def test_the_matching_is_the_best_on_the_whole() -> None:
    # Greedily 2 goes to 1 (IoU 0.6) and leaves 9 to nothing; together 1-2 and 8-9 are best.
    found = consensus.agreement(versions([squares(1, 8)], [squares(9, 2)], [squares(1, 8)]))
    assert by_phrase(found) == {"dog": (0.6 + 0.6 + 1.0) / 3}


def test_a_phrase_that_is_absent_for_some() -> None:
    dog, no_dog = runs.pair("dog"), runs.negative("dog")
    wolf = runs.negative("wolf")
    assert by_phrase(consensus.agreement(versions([dog], [no_dog], [no_dog]))) == {"dog": 1 / 3}
    assert by_phrase(consensus.agreement(versions([dog], [dog], []))) == {"dog": 1 / 3}
    # Who thinks of a negative that the others did not think of contradicts nobody.
    assert by_phrase(consensus.agreement(versions([dog, wolf], [dog], [dog]))) == {"dog": 1.0}
    nothing = consensus.agreement(versions([], [], []))
    assert (by_phrase(nothing), by_annotator(nothing)) == ({}, [1.0, 1.0, 1.0])


def completed(*pairs: Sequence[concepts_pb2.Pair], rounds: str = "0,0,0") -> routing.Routed:
    made = versions(*pairs)
    routed = decisions.consequences(made[2], AT, Weights())
    return consensus.completed(routed, made, rounds, AT, Weights(), agree_at_least=0.7)


def test_who_agrees_needs_no_lead() -> None:
    routed = completed([squares(1)], [squares(1)], [squares(1)])
    assert routed.accepted is not None
    assert routed.accepted.agreement.pairs[0].agreement == 1.0
    assert [task.type for task in routed.tasks] == [records_pb2.TASK_TYPE_EXHAUSTIVITY]
    assert routed.accepted.tasks_opened == 1


def test_a_disagreement_goes_to_a_lead_who_is_none_of_the_three_with_all_versions() -> None:
    cat = runs.pair("cat")
    routed = completed([squares(1, 8), cat], [squares(1), cat], [squares(12), cat])
    assert routed.accepted is not None
    assert routed.accepted.tasks_opened == len(routed.tasks) == 3
    task = routed.tasks[-1]
    assert (task.type, task.HasField("pair"), task.created_at) == (ADJUDICATE, False, AT)
    assert [version.annotator for version in task.versions] == list(PEOPLE)
    assert [len(version.pairs[0].masks) for version in task.versions] == [2, 1, 1]
    assert list(task.excluded_annotators) == list(PEOPLE)
    assert task.agreement == routed.accepted.agreement
    assert task.reasons[0] == "annotators disagree: on 1 of 2 phrases"
    assert "dog" in task.reasons[1]
    again = completed([squares(1, 8), cat], [squares(1), cat], [squares(12), cat], rounds="0,1,0")
    assert again.tasks[-1].id != task.id


def test_a_task_that_would_be_too_large_leaves_out_masks_that_are_agreed_on_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cat = runs.pair("cat")
    whole = completed([squares(1, 8), cat], [squares(1), cat], [squares(12), cat]).tasks[-1]
    monkeypatch.setattr(consensus, "MOST_TASK_BYTES", whole.ByteSize() - 100)
    task = completed([squares(1, 8), cat], [squares(1), cat], [squares(12), cat]).tasks[-1]
    assert [len(pair.masks) for version in task.versions for pair in version.pairs] == [2, 0, 1, 1, 1, 1]
    assert task.reasons[-1] == "too large: the masks of 1 pairs are not shown here"


def test_the_leads_version_is_of_record_and_needs_no_second_person() -> None:
    task = completed([squares(1)], [squares(12)], []).tasks[-1]
    pairs = [runs.pair("dog"), runs.negative("wolf")]
    pairs[0].exhaustive = True
    decided = runs.decision(task, records_pb2.DECISION_KIND_EDIT, annotator="tom", pairs=pairs)
    routed = decisions.consequences(runs.completed(task, decided), AT, Weights())
    assert routed.accepted is not None
    assert (routed.accepted.adjudicated, routed.accepted.tier) == (True, concepts_pb2.TIER_GOLD)
    assert not routed.tasks
    dog, wolf = routed.accepted.pairs
    assert (dog.exhaustive, dog.exhaustivity.provenance.annotator) == (True, "tom")
    assert wolf.negative.provenance.annotator == "tom"

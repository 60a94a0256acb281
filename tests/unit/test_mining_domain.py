"""Routing by stage and verdict, samples, and what follows from decisions."""

from __future__ import annotations

import pytest

from services.mining.domain import decisions, routing, tasks
from services.mining.priority import PhraseHistory, Weights
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs

AT = tasks.timestamp(1_700_000_123_456)
W = Weights()
STAGE_1 = concepts_pb2.STAGE_ASSISTED_MANUAL
STAGE_2 = concepts_pb2.STAGE_SEMI_AUTOMATIC
REVIEW, REJECT = concepts_pb2.VERDICT_REVIEW, concepts_pb2.VERDICT_REJECT


def route(verified: records_pb2.ImageVerified) -> routing.Routed:
    return routing.route(verified, AT, {}, W)


def only(routed: routing.Routed) -> records_pb2.ReviewTask:
    (task,) = routed.tasks
    return task


def test_stage_3_sends_the_accepted_on_and_the_others_to_people() -> None:
    routed = route(
        runs.verified(
            [
                runs.pair("dog"),
                runs.pair("cat", REVIEW, score=0.8),
                runs.pair("cow", REJECT, score=0.1),
                runs.negative("wolf"),
                runs.negative("fox", REVIEW),
            ]
        )
    )
    assert routed.accepted is not None
    assert [pair.phrase for pair in routed.accepted.pairs] == ["dog", "wolf"]
    assert routed.accepted.task_id == ""
    assert routed.accepted.tasks_opened == 3
    assert routed.accepted.tier == concepts_pb2.TIER_SYNTHETIC
    assert routed.accepted.accepted_at == AT
    asked = {task.pair.phrase: task.type for task in routed.tasks}
    assert asked == {
        "cat": records_pb2.TASK_TYPE_REVIEW,
        "cow": records_pb2.TASK_TYPE_REVIEW,
        "fox": records_pb2.TASK_TYPE_NEGATIVE,
    }
    assert all(task.created_at == AT for task in routed.tasks)
    priorities = {task.pair.phrase: task.priority for task in routed.tasks}
    assert priorities["cat"] > priorities["cow"]


def test_stage_3_gives_a_result_even_when_nothing_is_accepted() -> None:
    routed = route(runs.verified([]))
    assert routed.accepted is not None
    assert (len(routed.accepted.pairs), routed.accepted.tasks_opened, list(routed.tasks)) == (0, 0, [])


def test_stage_3_keeps_only_the_masks_that_verification_accepted() -> None:
    good, bad = runs.mask(), runs.mask(10, 2, choice=concepts_pb2.MASK_CHOICE_REJECT)
    routed = route(runs.verified([runs.pair("dog", masks=[good, bad])]))
    assert routed.accepted is not None
    assert list(routed.accepted.pairs[0].masks) == [good]
    assert routed.accepted.pairs[0].exhaustive


def test_an_accepted_positive_without_a_good_mask_goes_to_a_person() -> None:
    bad = runs.mask(choice=concepts_pb2.MASK_CHOICE_REJECT)
    routed = route(runs.verified([runs.pair("dog", masks=[bad])]))
    assert routed.accepted is not None
    assert not routed.accepted.pairs
    assert only(routed).type == records_pb2.TASK_TYPE_REVIEW


def test_routing_again_gives_the_same_bytes() -> None:
    def once() -> list[bytes]:
        routed = route(runs.verified([runs.pair(), runs.pair("cat", REVIEW)], of=runs.run(audit_rate=1.0)))
        assert routed.accepted is not None
        return [message.SerializeToString(deterministic=True) for message in (routed.accepted, *routed.tasks)]

    assert once() == once()


def test_a_repeated_phrase_is_one_pair_and_one_task() -> None:
    routed = route(runs.verified([runs.pair("cat", REVIEW), runs.pair("cat", REVIEW)]))
    assert only(routed).pair.phrase == "cat"


@pytest.mark.parametrize(("rate", "audits"), [(0.0, 0), (1.0, 2)])
def test_audits_are_a_share_of_the_accepted(rate: float, audits: int) -> None:
    routed = route(runs.verified([runs.pair(), runs.negative()], of=runs.run(audit_rate=rate)))
    assert [task.type for task in routed.tasks] == [records_pb2.TASK_TYPE_AUDIT] * audits
    assert routed.accepted is not None
    assert (len(routed.accepted.pairs), routed.accepted.tasks_opened) == (2, audits)


def test_the_sample_is_random_over_pairs_and_fixed_for_a_pair() -> None:
    drawn = [tasks.sampled("job", f"image-{n}", "dog", "audit", 0.2) for n in range(2000)]
    assert 0.15 < sum(drawn) / len(drawn) < 0.25
    assert drawn == [tasks.sampled("job", f"image-{n}", "dog", "audit", 0.2) for n in range(2000)]


def test_stage_2_asks_about_every_pair_and_accepts_none_by_itself() -> None:
    routed = route(runs.verified([runs.pair(), runs.negative()], of=runs.run(stage=STAGE_2)))
    assert routed.accepted is None
    assert [task.type for task in routed.tasks] == [
        records_pb2.TASK_TYPE_REVIEW,
        records_pb2.TASK_TYPE_NEGATIVE,
    ]


@pytest.mark.parametrize(("tier", "copies"), [(concepts_pb2.TIER_SILVER, 1), (concepts_pb2.TIER_GOLD, 3)])
def test_stage_1_asks_for_the_whole_image(tier: concepts_pb2.Tier.ValueType, copies: int) -> None:
    region = concepts_pb2.Region(mask=runs.mask())
    routed = route(runs.verified([], of=runs.run(stage=STAGE_1, tier=tier), regions=[region]))
    assert routed.accepted is None
    assert [task.copy for task in routed.tasks] == list(range(copies))
    assert len({task.id for task in routed.tasks}) == copies
    assert all(
        task.type == records_pb2.TASK_TYPE_ANNOTATE and list(task.regions) == [region]
        for task in routed.tasks
    )


def decide(
    task: records_pb2.ReviewTask,
    kind: records_pb2.DecisionKind.ValueType = records_pb2.DECISION_KIND_ACCEPT,
    pairs: tuple[concepts_pb2.Pair, ...] = (),
) -> tuple[records_pb2.AnnotationsAccepted, list[records_pb2.ReviewTask]]:
    routed = decisions.consequences(runs.completed(task, runs.decision(task, kind, pairs=pairs)), AT, W)
    assert routed.accepted is not None
    assert routed.accepted.task_id == task.id
    assert routed.accepted.tasks_opened == len(routed.tasks)
    return routed.accepted, list(routed.tasks)


def test_an_accepted_review_emits_the_pair_as_it_was() -> None:
    doubtful = runs.mask(choice=concepts_pb2.MASK_CHOICE_REJECT)
    task = only(route(runs.verified([runs.pair("cat", REVIEW, masks=[doubtful])])))
    accepted, checks = decide(task)
    (pair,) = accepted.pairs
    assert (pair.verdict, pair.exhaustive, checks) == (concepts_pb2.VERDICT_ACCEPT, True, [])
    assert pair.masks[0].counts == doubtful.counts
    assert pair.masks[0].verification.choice == concepts_pb2.MASK_CHOICE_ACCEPT
    assert pair.masks[0].verification.provenance.annotator == "ann"
    assert accepted.tier == concepts_pb2.TIER_SILVER


def test_a_rejected_review_emits_a_record_without_pairs() -> None:
    task = only(route(runs.verified([runs.pair("cat", REVIEW)])))
    accepted, checks = decide(task, records_pb2.DECISION_KIND_REJECT)
    assert (list(accepted.pairs), checks) == ([], [])


def test_a_confirmed_negative_carries_the_person() -> None:
    task = only(route(runs.verified([runs.negative("fox", REVIEW)])))
    accepted, _ = decide(task)
    (pair,) = accepted.pairs
    assert (pair.negative.absent, pair.negative.provenance.annotator) == (1.0, "ann")


def test_a_rejected_audit_withdraws_the_pair() -> None:
    task = only(route(runs.verified([runs.pair("dog")], of=runs.run(audit_rate=1.0))))
    accepted, _ = decide(task, records_pb2.DECISION_KIND_REJECT)
    (pair,) = accepted.pairs
    assert (pair.phrase, pair.verdict, len(pair.masks)) == ("dog", concepts_pb2.VERDICT_REJECT, 0)


def test_an_audit_that_renames_the_phrase_withdraws_the_old_one() -> None:
    task = only(route(runs.verified([runs.pair("dog")], of=runs.run(audit_rate=1.0))))
    accepted, _ = decide(task, records_pb2.DECISION_KIND_EDIT, (runs.pair("puppy"),))
    assert [(pair.phrase, pair.verdict) for pair in accepted.pairs] == [
        ("puppy", concepts_pb2.VERDICT_ACCEPT),
        ("dog", concepts_pb2.VERDICT_REJECT),
    ]


def test_after_annotation_a_second_person_checks_every_positive() -> None:
    task = only(route(runs.verified([], of=runs.run(stage=STAGE_1))))
    dog, wolf = runs.pair("dog"), runs.negative("wolf")
    dog.exhaustive = True
    accepted, checks = decide(task, records_pb2.DECISION_KIND_EDIT, (dog, wolf))
    assert [(pair.phrase, pair.exhaustive) for pair in accepted.pairs] == [("dog", False), ("wolf", False)]
    (check,) = checks
    assert (check.type, check.pair.phrase) == (records_pb2.TASK_TYPE_EXHAUSTIVITY, "dog")
    assert list(check.excluded_annotators) == ["ann"]
    after, further = decide(check)
    assert (after.pairs[0].exhaustive, further) == (True, [])
    assert after.pairs[0].exhaustivity.provenance.annotator == "ann"


def test_gold_copies_are_checked_apart() -> None:
    tasks = route(runs.verified([], of=runs.run(stage=STAGE_1, tier=concepts_pb2.TIER_GOLD))).tasks
    checks = [decide(task, records_pb2.DECISION_KIND_EDIT, (runs.pair("dog"),))[1][0] for task in tasks]
    assert len({check.id for check in checks}) == 3
    accepted, _ = decide(tasks[0], records_pb2.DECISION_KIND_EDIT, (runs.pair("dog"),))
    assert accepted.tier == concepts_pb2.TIER_GOLD


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (1.0, 1)])
def test_stage_2_samples_second_persons_checks(rate: float, expected: int) -> None:
    task = only(route(runs.verified([runs.pair()], of=runs.run(stage=STAGE_2, exhaustivity_rate=rate))))
    _, checks = decide(task)
    assert len(checks) == expected
    assert all(list(check.excluded_annotators) == ["ann"] for check in checks)


def test_what_models_made_and_people_changed_is_a_correction() -> None:
    task = only(route(runs.verified([runs.pair("cat", REVIEW)])))
    kinds = (
        records_pb2.DECISION_KIND_ACCEPT,
        records_pb2.DECISION_KIND_REJECT,
        records_pb2.DECISION_KIND_EDIT,
    )
    assert [decisions.corrected(task, runs.decision(task, kind)) for kind in kinds] == [False, True, True]


def test_history_reaches_the_priority() -> None:
    record = runs.verified([runs.pair("cat", REVIEW, score=0.8)])
    rare = only(routing.route(record, AT, {}, W))
    common = only(routing.route(record, AT, {"cat": PhraseHistory(accepted=100)}, W))
    assert rare.priority > common.priority
    assert "rare phrase: 0 accepted so far" in rare.reasons


# -- siblings, new phrases, undo


def test_a_task_shows_the_other_pairs_of_its_image() -> None:
    pairs = [runs.pair("dog"), runs.pair("cat", REVIEW, score=0.75), runs.negative("wolf")]
    task = only(route(runs.verified(pairs)))
    assert [(one.phrase, one.polarity, one.verdict) for one in task.siblings] == [
        ("dog", concepts_pb2.POLARITY_POSITIVE, concepts_pb2.VERDICT_ACCEPT),
        ("wolf", concepts_pb2.POLARITY_NEGATIVE, concepts_pb2.VERDICT_ACCEPT),
    ]
    assert task.siblings[0].score == pytest.approx(0.95)


def with_a_kite(rate: float, task_id: str = "t-1") -> records_pb2.ReviewCompleted:
    run = runs.run(exhaustivity_rate=rate)
    task = only(route(runs.verified([runs.pair("cat", REVIEW), runs.negative("wolf")], of=run)))
    task.id = task_id
    pairs = [runs.pair("cat"), runs.pair("kite")]
    return runs.completed(task, runs.decision(task, records_pb2.DECISION_KIND_EDIT, pairs=pairs))


def test_a_phrase_that_a_person_adds_is_accepted_and_checked_like_any_other() -> None:
    routed = decisions.consequences(with_a_kite(1.0), AT, W)
    assert routed.accepted is not None
    assert [(pair.phrase, pair.verdict) for pair in routed.accepted.pairs] == [
        ("cat", concepts_pb2.VERDICT_ACCEPT),
        ("kite", concepts_pb2.VERDICT_ACCEPT),
    ]
    assert [(task.pair.phrase, [one.phrase for one in task.siblings]) for task in routed.tasks] == [
        ("cat", ["kite", "wolf"]),
        ("kite", ["cat", "wolf"]),
    ]
    assert not decisions.consequences(with_a_kite(0.0), AT, W).tasks
    # Two people who give an image the same phrase ask for two checks, which the dataset counts.
    other = decisions.consequences(with_a_kite(1.0, task_id="t-2"), AT, W)
    assert other.tasks[0].id == routed.tasks[0].id
    assert other.tasks[1].id != routed.tasks[1].id


def test_an_undo_withdraws_the_record_and_the_checks() -> None:
    completed = with_a_kite(1.0)
    undo = runs.completed(
        completed.task, runs.decision(completed.task, records_pb2.DECISION_KIND_UNDO, id="u")
    )
    undo.undone.CopyFrom(completed.decision)
    first = decisions.consequences(completed, AT, W)
    record, gone = decisions.taken_back(undo, AT, W, adjudication=False)
    assert first.accepted is not None
    assert list(gone) == [task.id for task in first.tasks]
    assert (record.task_id, record.round, record.withdrawn) == (completed.task.id, 0, True)
    assert (record.tasks_opened, len(record.pairs)) == (first.accepted.tasks_opened, 0)
    again = runs.completed(tasks.next_round(completed.task), completed.decision)
    second = decisions.consequences(again, AT, W)
    assert second.accepted is not None
    assert second.accepted.round == 1
    assert {task.id for task in second.tasks}.isdisjoint(gone)

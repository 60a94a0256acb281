"""Single pairs, phrases and figures, from what mining really writes; exact in any order of the records."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.core.errors import InvalidInput, NotFound
from services.dataset.settings import DatasetSettings
from services.dataset.showing import Showing
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_SUBMITTED,
    IMAGES_VERIFIED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
)
from services.mining.domain import decisions, routing, tasks
from services.mining.priority import Weights
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2
from tests.support import runs
from tests.support.dataset_logs import STAGE_2, STAGE_3, START_MS, Log, cancelled, created
from tests.support.hand_fed_dataset import Service

STAGE_1 = concepts_pb2.STAGE_ASSISTED_MANUAL
ACCEPT, REVIEW, REJECT = (
    concepts_pb2.VERDICT_ACCEPT,
    concepts_pb2.VERDICT_REVIEW,
    concepts_pb2.VERDICT_REJECT,
)
YES, NO, EDIT, UNDO = (
    records_pb2.DECISION_KIND_ACCEPT,
    records_pb2.DECISION_KIND_REJECT,
    records_pb2.DECISION_KIND_EDIT,
    records_pb2.DECISION_KIND_UNDO,
)
AT = Timestamp(seconds=runs.SUBMITTED_AT)
WEIGHTS = Weights()


class Story:
    """What mining makes of verified images and of decisions, in a log."""

    def __init__(
        self,
        images: dict[str, Sequence[concepts_pb2.Pair]],
        *,
        stage: concepts_pb2.Stage.ValueType = STAGE_3,
        job_id: str = "job-1",
        log: Log | None = None,
        **rates: float,
    ) -> None:
        self.log = log or Log()
        self.job_id = job_id
        self.tasks: dict[str, records_pb2.ReviewTask] = {}
        run = runs.run(job_id, stage=stage, **rates)  # type: ignore[arg-type]
        self.write(JOBS_EVENTS, created(list(images), stage=stage, job_id=job_id), job_id)
        for name, pairs in images.items():
            image = runs.image(name)
            self.write(IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=image, run=run), image.id)
            verified = runs.verified(pairs, of=run, name=name)
            self.write(IMAGES_VERIFIED, verified, image.id)
            self.follow(routing.route(verified, AT, {}, WEIGHTS))

    def write(self, topic: str, value: object, key: str) -> None:
        self.log.write(topic, value, key=key, job_id=self.job_id)  # type: ignore[arg-type]

    def follow(self, routed: routing.Routed) -> None:
        if routed.accepted is not None:
            self.write(ANNOTATIONS_ACCEPTED, routed.accepted, routed.accepted.image.id)
        for task in routed.tasks:
            self.write(REVIEW_REQUESTED, records_pb2.ReviewRequested(task=task), task.image.id)
            kind = records_pb2.TaskType.Name(task.type).removeprefix("TASK_TYPE_").lower()
            name = f"{kind} {task.pair.phrase} {task.image.name}".replace("  ", " ")
            self.tasks[f"{name} {task.copy}" if task.copy else name] = task

    def decide(
        self,
        name: str,
        kind: records_pb2.DecisionKind.ValueType = YES,
        pairs: Sequence[concepts_pb2.Pair] = (),
        *,
        annotator: str = "ann",
        seconds: float = 2.0,
        minute: int = 0,
    ) -> records_pb2.ReviewCompleted:
        task = self.tasks[name]
        decision = runs.decision(task, kind, pairs=pairs, annotator=annotator, active_seconds=seconds)
        decision.decided_at.FromSeconds(runs.SUBMITTED_AT + 60 * minute)
        decision.id = f"d-{len(self.log.records)}"
        completed = runs.completed(task, decision)
        self.write(REVIEW_COMPLETED, completed, task.image.id)
        self.follow(decisions.consequences(completed, AT, WEIGHTS))
        return completed

    def undo(self, completed: records_pb2.ReviewCompleted) -> None:
        undone = records_pb2.ReviewCompleted(
            tenant="acme",
            task=completed.task,
            decision=records_pb2.ReviewDecision(id="u", kind=UNDO, annotator="ann", decided_at=AT),
            undone=completed.decision,
        )
        self.write(REVIEW_COMPLETED, undone, completed.task.image.id)
        record, _ = decisions.taken_back(undone, AT, WEIGHTS, adjudication=False)
        self.write(ANNOTATIONS_ACCEPTED, record, completed.task.image.id)
        name = next(name for name, task in self.tasks.items() if task.id == completed.task.id)
        self.tasks[name] = tasks.next_round(completed.task)


class Told:
    """The dataset service that has read a log."""

    def __init__(self, log: Log) -> None:
        self.service = Service(f"showing-{uuid.uuid4()}")
        self.showing = Showing(self.service.view, self.service.blobs, DatasetSettings())
        self.seen = 0
        self.read(log)

    def read(self, log: Log) -> None:
        for record in log.records[self.seen :]:
            self.service.take(record)
        self.seen = len(log.records)

    def pairs(self, **asked: object) -> list[tuple[str, str, str, str, bool]]:
        """(phrase, image name, +/-, verdict, waiting) of all pages."""
        found = []
        asked = {"tenant": "acme", "job_id": "job-1", "page_token": "", **asked}
        while True:
            request = dataset_pb2.ListPairsRequest(**asked)  # type: ignore[arg-type]
            answer = self.showing.pairs(request)
            for one in answer.pairs:
                sign = "-" if one.pair.polarity == concepts_pb2.POLARITY_NEGATIVE else "+"
                verdict = concepts_pb2.Verdict.Name(one.pair.verdict).removeprefix("VERDICT_").lower()
                found.append((one.pair.phrase, one.image.name, sign, verdict, one.waiting))
            if not answer.next_page_token:
                return found
            asked["page_token"] = answer.next_page_token

    def phrases(self, prefix: str = "", limit: int = 20) -> list[tuple[str, int]]:
        request = dataset_pb2.ListPhrasesRequest(tenant="acme", prefix=prefix, limit=limit)
        return [(one.phrase, one.pairs) for one in self.showing.phrases(request).phrases]

    def statistics(self, job_id: str = "", since: int | None = None) -> dataset_pb2.StatisticsResponse:
        request = dataset_pb2.StatisticsRequest(tenant="acme", job_id=job_id)
        if since is not None:
            request.since.FromSeconds(since)
        return self.showing.statistics(request)


def stage_3() -> Story:
    return Story(
        {
            "a.png": [
                runs.pair("dog", score=0.95),
                runs.negative("wolf"),
                runs.pair("cat", REVIEW, score=0.8),
            ],
            "b.png": [runs.pair("dog", score=0.97), runs.pair("yellow school bus", REJECT, score=0.3)],
        }
    )


def test_every_pair_is_shown_as_it_stands() -> None:
    story = stage_3()
    told = Told(story.log)
    assert [one[0] for one in told.pairs()] == ["cat", "dog", "dog", "wolf", "yellow school bus"]
    assert sorted(told.pairs()) == [
        ("cat", "a.png", "+", "review", True),
        ("dog", "a.png", "+", "accept", False),
        ("dog", "b.png", "+", "accept", False),
        ("wolf", "a.png", "-", "accept", False),
        ("yellow school bus", "b.png", "+", "reject", True),
    ]
    story.decide("review cat a.png")
    story.decide("review yellow school bus b.png", NO)
    told.read(story.log)
    assert ("cat", "a.png", "+", "accept", False) in told.pairs()
    assert ("yellow school bus", "b.png", "+", "reject", False) in told.pairs()
    assert len(told.pairs()) == 5


def test_filters_and_pages() -> None:
    story = stage_3()
    story.decide("review cat a.png", EDIT, [runs.pair("cat", masks=[runs.mask(8)])], annotator="bob")
    told = Told(story.log)
    for size in (1, 2, 50):
        assert len(told.pairs(page_size=size)) == 5
    assert {one[0] for one in told.pairs(phrase="dog")} == {"dog"}
    assert told.pairs(phrase="do") == []
    assert [one[0] for one in told.pairs(polarity=concepts_pb2.POLARITY_NEGATIVE)] == ["wolf"]
    assert [one[0] for one in told.pairs(verdict=REJECT)] == ["yellow school bus"]
    assert [one[0] for one in told.pairs(verdict=REVIEW)] == []
    assert [one[0] for one in told.pairs(annotator="bob")] == ["cat"]
    assert told.pairs(annotator="bo") == []
    assert {one[0] for one in told.pairs(model="sam")} == {"cat", "dog", "yellow school bus"}
    assert told.pairs(model="vit_tiny-00000000") == told.pairs(model="sam")
    assert [one[0] for one in told.pairs(max_score=0.5)] == ["yellow school bus"]
    assert {one[0] for one in told.pairs(min_score=0.97)} == {"dog", "wolf"}
    assert told.pairs(min_score=0.96, max_score=0.98, phrase="dog")[0][1] == "b.png"
    with pytest.raises(InvalidInput, match="token"):
        told.pairs(page_token="nonsense")
    with pytest.raises(NotFound):
        told.pairs(job_id="job-2")
    with pytest.raises(NotFound):
        told.pairs(tenant="other")


def test_a_page_is_short_rather_than_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dataset.pairs_view._LOOKED_AT", 2)
    monkeypatch.setattr("services.dataset.pairs_view._CALLS", 1)
    told = Told(stage_3().log)
    request = dataset_pb2.ListPairsRequest(tenant="acme", job_id="job-1", phrase="", verdict=REJECT)
    first = told.showing.pairs(request)
    assert not first.pairs
    assert first.next_page_token
    assert [one[0] for one in told.pairs(verdict=REJECT)] == ["yellow school bus"]


def test_an_undone_decision_makes_the_pair_wait_again() -> None:
    story = stage_3()
    decided = story.decide("review cat a.png", EDIT, [runs.pair("grey cat")])
    told = Told(story.log)
    assert ("grey cat", "a.png", "+", "accept", False) in told.pairs()
    assert "cat" not in {one[0] for one in told.pairs()}
    assert ("grey cat", 1) in told.phrases()
    story.undo(decided)
    told.read(story.log)
    assert ("cat", "a.png", "+", "review", True) in told.pairs()
    assert "grey cat" not in {one[0] for one in told.pairs()}
    assert told.phrases("grey") == []
    story.decide("review cat a.png", NO)
    told.read(story.log)
    assert ("cat", "a.png", "+", "reject", False) in told.pairs()


def test_an_audit_that_rejects_shows_what_had_been_accepted() -> None:
    story = Story({"a.png": [runs.pair("dog")]}, audit_rate=1.0)
    told = Told(story.log)
    assert told.pairs() == [("dog", "a.png", "+", "accept", False)]
    story.decide("audit dog a.png", NO, annotator="eve")
    told.read(story.log)
    assert told.pairs() == [("dog", "a.png", "+", "reject", False)]
    request = dataset_pb2.ListPairsRequest(tenant="acme", job_id="job-1", annotator="eve")
    (shown,) = told.showing.pairs(request).pairs
    assert shown.pair.masks, "what was rejected can be seen"
    assert told.phrases() == []


def test_stage_2_waits_for_people_whatever_the_models_think_and_nothing_waits_in_a_cancelled_job() -> None:
    story = Story({"a.png": [runs.pair("dog"), runs.negative("wolf")]}, stage=STAGE_2)
    told = Told(story.log)
    assert told.pairs() == [("dog", "a.png", "+", "review", True), ("wolf", "a.png", "-", "review", True)]
    waiting = told.showing.waiting("acme", "job-1", runs.image_id("a.png"))
    assert [(pair.phrase, pair.verdict) for pair in waiting] == [("dog", REVIEW), ("wolf", REVIEW)]
    story.decide("review dog a.png")
    told.read(story.log)
    assert told.pairs()[0] == ("dog", "a.png", "+", "accept", False)
    assert [p.phrase for p in told.showing.waiting("acme", "job-1", runs.image_id("a.png"))] == ["wolf"]
    story.write(JOBS_EVENTS, cancelled(), "job-1")
    told.read(story.log)
    assert [one[4] for one in told.pairs()] == [False, False]
    assert told.showing.waiting("acme", "job-1", runs.image_id("a.png")) == []


def test_phrases_by_use_and_by_the_beginning_of_any_word() -> None:
    story = stage_3()
    story.decide("review cat a.png")
    told = Told(story.log)
    assert told.phrases() == [("dog", 2), ("cat", 1), ("wolf", 1)]
    story.decide("review yellow school bus b.png", EDIT, [runs.pair("yellow school bus")])
    told.read(story.log)
    assert told.phrases("s") == told.phrases("school b") == told.phrases("bus") == [("yellow school bus", 1)]
    assert told.phrases("us") == []
    assert told.phrases(limit=1) == [("dog", 2)]


def test_phrases_beyond_the_common_ones_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dataset.pairs_view._COMMON", 1)
    told = Told(Story({"a.png": [runs.pair("dog"), runs.pair("red dog")], "b.png": [runs.pair("dog")]}).log)
    assert told.phrases("do", limit=3) == [("dog", 2), ("red dog", 1)]
    assert told.phrases("red", limit=1) == [("red dog", 1)]


def test_figures_of_stage_2() -> None:
    story = Story(
        {
            "a.png": [runs.pair("dog"), runs.negative("wolf")],
            "b.png": [runs.pair("cat", score=0.32), runs.pair("fox")],
        },
        stage=STAGE_2,
    )
    story.decide("review dog a.png", seconds=4.0)
    story.decide("negative wolf a.png", seconds=1.0, minute=90)
    story.decide("review cat b.png", NO, annotator="bob", seconds=3.0)
    undone = story.decide("review fox b.png", EDIT, [runs.pair("fox")], annotator="bob", seconds=5.0)
    story.undo(undone)
    told = Told(story.log)
    (stage,) = told.statistics().stages
    assert stage.stage == STAGE_2
    assert (stage.model_images, stage.model_pairs, stage.people_images) == (2, 4, 2)
    assert (stage.decisions, stage.positives, stage.negatives) == (3, 2, 1)
    assert stage.active_seconds == pytest.approx(13.0), "the time of what was undone was spent"
    assert (stage.positive_seconds, stage.negative_seconds) == pytest.approx((12.0, 1.0))
    people = {one.annotator: one for one in told.statistics().people}
    assert list(people) == ["ann", "bob"]
    assert (people["bob"].decisions, people["bob"].judged, people["bob"].rejections) == (1, 1, 1)
    assert (people["bob"].edits, people["bob"].active_seconds) == (0, 8.0)
    assert not people["bob"].HasField("agreement")
    assert [(one.annotator, one.images, one.pairs) for one in people.values()] == [
        ("ann", 1, 2),
        ("bob", 1, 1),
    ]
    found = told.statistics("job-1")
    assert (sum(found.positive_scores), sum(found.negative_scores)) == (3, 1)
    assert found.positive_scores[6] == 1
    assert found.negative_scores[19] == 1
    assert found.spec.accept_above == pytest.approx(0.9)
    with pytest.raises(NotFound):
        told.statistics("job-2")


def test_figures_of_the_last_hours() -> None:
    story = Story({"a.png": [runs.pair("dog"), runs.pair("cat"), runs.pair("fox")]}, stage=STAGE_2)
    story.decide("review dog a.png", seconds=4.0, minute=10)
    story.decide("review cat a.png", seconds=4.0, minute=200)
    told = Told(story.log)
    (stage,) = told.statistics(since=runs.SUBMITTED_AT + 60 * 100).stages
    assert (stage.decisions, stage.people_images, stage.model_images) == (1, 0, 0)
    (stage,) = told.statistics(since=START_MS // 1000).stages
    assert (stage.decisions, stage.people_images, stage.model_images) == (2, 1, 1)
    assert not told.statistics(since=runs.SUBMITTED_AT + 60 * 1000).stages


def test_figures_of_stages_1_and_3_and_a_second_look() -> None:
    story = Story({"a.png": []}, stage=STAGE_1)
    pairs = [runs.pair("dog"), runs.pair("cat"), runs.pair("fox"), runs.negative("wolf")]
    story.decide("annotate a.png", EDIT, pairs, seconds=40.0)
    story.decide("exhaustivity dog a.png", annotator="eve", seconds=2.0)
    automatic = Story(
        {"b.png": [runs.pair("dog"), runs.pair("cat", REVIEW, score=0.8)], "c.png": [runs.pair("dog")]},
        job_id="job-2",
        log=story.log,
    )
    automatic.decide("review cat b.png", seconds=6.0)
    told = Told(story.log)
    one, three = told.statistics().stages
    assert (one.stage, one.people_images, one.decisions) == (STAGE_1, 1, 2)
    assert (one.positives, one.negatives) == (3, 1), "a second look makes no further pair"
    assert (one.positive_seconds, one.negative_seconds) == pytest.approx((32.0, 10.0))
    assert (three.stage, three.model_images, three.model_pairs, three.model_minutes) == (STAGE_3, 2, 3, 1)
    assert (three.decisions, three.positives) == (1, 1)
    assert [(p.annotator, p.decisions, p.pairs, p.judged) for p in told.statistics().people] == [
        ("ann", 2, 5, 1),
        ("eve", 1, 1, 1),
    ]
    assert [stage.stage for stage in told.statistics("job-2").stages] == [STAGE_3]
    ann, eve = told.statistics().people
    assert (ann.images, eve.images) == (2, 1), "an image counts for each who worked on it"
    assert [(s.stage, s.images, s.pairs, s.active_seconds) for s in ann.stages] == [
        (STAGE_1, 1, 4, 40.0),
        (STAGE_3, 1, 1, 6.0),
    ]
    assert [(s.stage, s.images, s.pairs, s.active_seconds) for s in eve.stages] == [(STAGE_1, 1, 1, 2.0)]


def test_an_image_counts_once_for_a_person_while_a_decision_of_that_person_stands() -> None:
    story = Story({"a.png": [runs.pair("dog"), runs.pair("cat")], "b.png": [runs.pair("fox")]}, stage=STAGE_2)

    def images(told: Told, since: int | None = None) -> dict[str, int]:
        return {one.annotator: one.images for one in told.statistics(since=since).people}

    first = story.decide("review dog a.png", minute=10)
    told = Told(story.log)
    assert images(told) == {"ann": 1}
    second = story.decide("review cat a.png", minute=200)
    story.decide("review fox b.png", annotator="bob", minute=200)
    told.read(story.log)
    assert images(told) == {"ann": 1, "bob": 1}
    later = runs.SUBMITTED_AT + 60 * 100
    assert images(told, later) == {"ann": 0, "bob": 1}, "ann had begun with a.png before"
    story.undo(first)
    told.read(story.log)
    assert images(told) == {"ann": 1, "bob": 1}
    assert images(told, later) == {"ann": 1, "bob": 1}, "her first decision that stands is the later one"
    story.undo(second)
    told.read(story.log)
    assert images(told) == {"ann": 0, "bob": 1}
    (ann,) = (one for one in told.statistics().people if one.annotator == "ann")
    assert (ann.pairs, ann.active_seconds) == (0, 4.0), "the time of what was undone was spent"
    story.decide("review dog a.png", annotator="bob")
    story.decide("review cat a.png", annotator="bob")
    told.read(story.log)
    assert images(told) == {"ann": 0, "bob": 2}
    assert Told(story.log).statistics() == told.statistics(), "a rebuild tells the same"


def test_versions_of_gold_are_shown_beside_each_other_and_agreement_is_told() -> None:
    story = Story({"a.png": []}, stage=STAGE_1, tier=concepts_pb2.TIER_GOLD)
    run, image = runs.run(stage=STAGE_1, tier=concepts_pb2.TIER_GOLD), runs.image("a.png")
    names = ("ann", "bob", "eve")
    for name in names:
        pair = runs.pair("dog")
        pair.provenance.annotator = name
        record = records_pb2.AnnotationsAccepted(
            image=image, run=run, pairs=[pair], task_id=name, tier=concepts_pb2.TIER_GOLD
        )
        if name == "eve":
            record.agreement.annotators.extend(
                records_pb2.AnnotatorAgreement(annotator=who, agreement=value, task_id=who)
                for who, value in zip(names, (0.9, 0.8, 0.4), strict=True)
            )
        story.write(ANNOTATIONS_ACCEPTED, record, image.id)
    for number, name in enumerate(names):
        which = f"annotate a.png {number}" if number else "annotate a.png"
        task = story.tasks[which]
        completed = runs.completed(task, runs.decision(task, EDIT, pairs=[runs.pair("dog")], annotator=name))
        story.write(REVIEW_COMPLETED, completed, image.id)
    told = Told(story.log)
    assert told.pairs() == [("dog", "a.png", "+", "accept", False)] * 3
    assert len(told.pairs(annotator="eve")) == 1
    assert {p.annotator: round(p.agreement, 3) for p in told.statistics().people} == {
        "ann": 0.9,
        "bob": 0.8,
        "eve": 0.4,
    }


def everything() -> Log:
    story = stage_3()
    decided = story.decide("review cat a.png", EDIT, [runs.pair("grey cat")], seconds=3)
    story.undo(decided)
    story.decide("review cat a.png", seconds=2, minute=7)
    story.decide("review yellow school bus b.png", NO, annotator="bob")
    people = Story(
        {"c.png": [runs.pair("dog"), runs.negative("wolf")]}, stage=STAGE_2, job_id="job-2", log=story.log
    )
    people.undo(people.decide("review dog c.png", NO))
    people.decide("negative wolf c.png", NO, annotator="bob")
    return story.log


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_any_order_and_any_repetition_shows_the_same(seed: int) -> None:
    log = everything()
    told, chance = Told(log), random.Random(seed)
    records = [*log.records, *chance.sample(log.records, len(log.records) // 2)]
    chance.shuffle(records)
    shuffled = Log(records)
    other = Told(shuffled)
    assert other.service.dump() == told.service.dump()
    for job_id in ("job-1", "job-2"):
        assert other.pairs(job_id=job_id) == told.pairs(job_id=job_id)
    assert other.statistics() == told.statistics()
    assert other.phrases() == told.phrases()


def test_phrases_with_control_characters_stay_one_row() -> None:
    told = Told(Story({"a.png": [runs.pair("dog\x1f\x1e\tcat")]}).log)
    assert [one[0] for one in told.pairs()] == ["dog\x1f\x1e\tcat"]
    assert told.phrases() == [("dog   cat", 1)]

"""What was done, by whom and in how much time, as counters that add up. Pure: same record, same figures."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.dataset import domain
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2

PEOPLE_MINUTES: Final = 5
"""Decisions are summed up by five minutes: a person's day is a hundred sums, not thousands."""
SCORE_MINUTES: Final = 60
_WHOLE_IMAGE: Final = (records_pb2.TASK_TYPE_ANNOTATE, records_pb2.TASK_TYPE_ADJUDICATE)
_SECOND_LOOK: Final = (records_pb2.TASK_TYPE_AUDIT, records_pb2.TASK_TYPE_EXHAUSTIVITY)
_ID: Final = re.compile(r"[|*;,=\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was done: an entry of `lua/count.lua`. No annotator: the models."""

    name: str
    order: str
    bucket: int
    annotator: str
    image_id: str
    counters: Mapping[str, int]

    def arguments(self) -> list[str]:
        """For the script."""
        counters = ",".join(f"{name}={number}" for name, number in self.counters.items() if number)
        return [self.name, self.order, str(self.bucket), self.annotator, self.image_id, counters]


def of_verified(verified: records_pb2.ImageVerified, offset: int, timestamp_ms: int) -> list[Entry]:
    """The models are through with an image: image and pairs at their minute, scores at their hour."""
    minute, order, image_id = timestamp_ms // 60_000, domain.order(offset), verified.image.id
    phrases = {pair.phrase for pair in verified.pairs}
    entries = [Entry(f"models:{image_id}", order, minute, "", image_id, {"i": 1, "q": len(phrases)})]
    scores: Counter[str] = Counter()
    for pair in verified.pairs:
        if pair.verdict:
            sign = "sn" if pair.polarity == concepts_pb2.POLARITY_NEGATIVE else "sp"
            scores[f"{sign}{min(domain.BINS - 1, max(0, int(pair.score * domain.BINS)))}"] += 1
    if scores:
        hour = minute - minute % SCORE_MINUTES
        entries.append(Entry(f"scores:{image_id}", order, hour, "", image_id, scores))
    return entries


def of_completed(completed: records_pb2.ReviewCompleted, offset: int) -> Entry:
    """A person's decision.

    Its time is shared out evenly among its pairs. Pairs of the stage are counted where they are first
    decided; a second look (audit, exhaustivity) and an adjudication only add their time.
    """
    task, decision = completed.task, completed.decision
    minute = decision.decided_at.ToMilliseconds() // 60_000
    counters: dict[str, int] = {"d": 1, "ms": max(0, round(decision.active_seconds * 1000))}
    if task.type not in _WHOLE_IMAGE:
        counters["j"] = 1
        counters["r"] = int(decision.kind == records_pb2.DECISION_KIND_REJECT)
        counters["e"] = int(decision.kind == records_pb2.DECISION_KIND_EDIT)
    edited = decision.kind == records_pb2.DECISION_KIND_EDIT
    pairs: Sequence[concepts_pb2.Pair] = (
        decision.pairs if edited or not task.HasField("pair") else [task.pair]
    )
    negatives = sum(pair.polarity == concepts_pb2.POLARITY_NEGATIVE for pair in pairs)
    counters["n"] = len(pairs)
    if pairs:
        counters["nms"] = round(counters["ms"] * negatives / len(pairs))
        counters["pms"] = counters["ms"] - counters["nms"]
    if task.type not in (*_SECOND_LOOK, records_pb2.TASK_TYPE_ADJUDICATE):
        counters |= {"p": len(pairs) - negatives, "g": negatives}
    return Entry(
        name=entry_name(completed),
        order=domain.order(offset),
        bucket=minute - minute % PEOPLE_MINUTES,
        annotator=_ID.sub(" ", decision.annotator) or "unknown",
        image_id=task.image.id,
        counters=counters,
    )


def entry_name(completed: records_pb2.ReviewCompleted) -> str:
    """The name of a decision's entry, and of what takes it back."""
    return f"task:{domain.round_name(completed.task.id, completed.task.round)}"


@dataclass(slots=True)
class Sums:
    """Counters of jobs of one stage."""

    models: Counter[str] = field(default_factory=Counter)
    minutes: set[int] = field(default_factory=set)
    people: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    people_images: int = 0

    def add(self, fields: Iterable[tuple[int, str, str, int]], since: int) -> None:
        """A job's sums (bucket, annotator, counter, n) from a minute on."""
        for bucket, annotator, counter, n in fields:
            # A bucket belongs to the time asked for when it ends after its beginning.
            if bucket + _length(annotator, counter) <= since:
                continue
            if annotator == "*":
                self.people_images += n
            elif annotator:
                self.people[annotator][counter] += n
            else:
                self.models[counter] += n
                if counter == "i":
                    self.minutes.add(bucket)


def stage_statistics(stage: concepts_pb2.Stage.ValueType, sums: Sums) -> dataset_pb2.StageStatistics | None:
    """The stage's figures; None where nothing was done."""
    total: Counter[str] = sum(sums.people.values(), Counter())
    if not sums.models["i"] and not total:
        return None
    return dataset_pb2.StageStatistics(
        stage=stage,
        model_images=sums.models["i"],
        model_pairs=sums.models["q"],
        model_minutes=len(sums.minutes),
        people_images=sums.people_images,
        decisions=total["d"],
        positives=total["p"],
        negatives=total["g"],
        active_seconds=total["ms"] / 1000,
        positive_seconds=total["pms"] / 1000,
        negative_seconds=total["nms"] / 1000,
    )


def person_statistics(
    annotator: str,
    stages: Mapping[concepts_pb2.Stage.ValueType, Mapping[str, int]],
    agreements: Sequence[float],
) -> dataset_pb2.PersonStatistics:
    """The person's figures from the counters of each stage.

    An image counts once for each person and job, while a decision of the person on it stands, whoever else
    worked on it and whether or not pairs of it are still open: images by active hours are what a lead
    expects of an hour of this person, on tasks like those that the person had. Waiting for an image's last
    pair would give the whole image to whoever came last.
    """
    sums: Counter[str] = Counter()
    for counted in stages.values():
        sums.update(counted)
    return dataset_pb2.PersonStatistics(
        annotator=annotator,
        images=sums["i"],
        stages=[
            dataset_pb2.PersonStageStatistics(
                stage=stage,
                images=counted["i"],
                pairs=counted["n"],
                active_seconds=counted["ms"] / 1000,
            )
            for stage, counted in sorted(stages.items())
        ],
        decisions=sums["d"],
        pairs=sums["n"],
        active_seconds=sums["ms"] / 1000,
        judged=sums["j"],
        rejections=sums["r"],
        edits=sums["e"],
        agreement=sum(agreements) / len(agreements) if agreements else None,
    )


def _length(annotator: str, counter: str) -> int:
    """Minutes of a bucket."""
    if annotator:
        return PEOPLE_MINUTES
    return SCORE_MINUTES if counter.startswith("s") else 1

"""What the log says of jobs and images, and what stands in the end. Pure: same records, same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2

MODELS: Final = "models"
"""Name of the models' record of a run, beside the task ids of the people's."""
GOLD_COPIES: Final = 3
BINS: Final = 20
RATE_SECONDS: Final = 60

_STEPS: Final[Mapping[str, int]] = {
    "images.submitted": 1,
    "images.proposed": 2,
    "images.segmented": 3,
    "images.verified": 4,
    "review.requested": 5,
    "review.completed": 5,
    "annotations.accepted": 5,
}
"""How far an image has come that has a record on the topic."""
_PIPELINE_GROUPS: Final = frozenset({"mining", "mining-view", "dataset"})
_PEOPLE_TOPICS: Final = frozenset({"review.requested", "review.completed", "annotations.accepted"})
_TIERS: Final = {
    concepts_pb2.TIER_GOLD: 3,
    concepts_pb2.TIER_SILVER: 2,
    concepts_pb2.TIER_SYNTHETIC: 1,
}


@dataclass(frozen=True, slots=True)
class Learnt:
    """Something about an image in a job; the fields are those of `lua/learn.lua`."""

    tenant: str
    job_id: str
    image_id: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A pair that stands, and the record that it stands by.

    `agreement`: of a gold image, how far its three annotators agree about the phrase, 0..1; None where that
    is not known.
    """

    pair: concepts_pb2.Pair
    record: records_pb2.AnnotationsAccepted
    agreement: float | None = None


def order(offset: int) -> str:
    """An offset as text that sorts like the number. An image's records are in one partition of a topic."""
    return f"{offset:020d}"


def of_step(topic: str, image: records_pb2.Image, run: records_pb2.Run) -> Learnt:
    """An image has come as far as the topic."""
    return Learnt(image.tenant, run.job_id, image.id, {"name": image.name, "step": str(_STEPS[topic])})


def of_verified(verified: records_pb2.ImageVerified, timestamp_ms: int) -> Learnt:
    """The models are done. In stages 1 and 2 every image or every pair is a task: their number is known."""
    image, run = verified.image, verified.run
    fields = {"name": image.name, "step": str(_STEPS["images.verified"])}
    phrases = {pair.phrase for pair in verified.pairs}
    if run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
        gold = run.spec.tier == concepts_pb2.TIER_GOLD
        fields |= {"expected": str(GOLD_COPIES if gold else 1), "done": _second(timestamp_ms)}
    elif run.spec.stage == concepts_pb2.STAGE_SEMI_AUTOMATIC:
        fields |= {"expected": str(len(phrases)), "done": _second(timestamp_ms)}
    tally: Counter[str] = Counter()
    for pair in verified.pairs:
        if pair.verdict:
            tally[f"verdict:{concepts_pb2.Verdict.Name(pair.verdict).removeprefix('VERDICT_').lower()}"] += 1
            tally[f"bin:{min(BINS - 1, max(0, int(pair.score * BINS)))}"] += 1
    if tally:
        fields["tally"] = " ".join(f"{field}={n}" for field, n in sorted(tally.items()))
    return Learnt(image.tenant, run.job_id, image.id, fields)


def of_requested(requested: records_pb2.ReviewRequested) -> Learnt:
    """People have a task."""
    task = requested.task
    fields = {"name": task.image.name, "step": str(_STEPS["review.requested"]), "requested": "1"}
    return Learnt(task.image.tenant, task.run.job_id, task.image.id, fields)


def of_accepted(accepted: records_pb2.AnnotationsAccepted, offset: int, timestamp_ms: int) -> Learnt:
    """The models' result of a run, or a person's decision."""
    image = accepted.image
    fields = {
        "name": image.name,
        "step": str(_STEPS["annotations.accepted"]),
        "record": record_name(accepted),
        "order": order(offset),
        "opened": str(accepted.tasks_opened),
    }
    if accepted.withdrawn:
        return Learnt(image.tenant, accepted.run.job_id, image.id, {**fields, "withdrawn": "1"})
    fields |= {
        "pairs": "".join(f"{_plain(pair_key(accepted, p))}\t{_code(p)}\n" for p in accepted.pairs),
    }
    if accepted.HasField("agreement"):
        versions = accepted.agreement.annotators
        fields["versions"] = ",".join(round_name(one.task_id, one.round) for one in versions)
        fields["agreement"] = "".join(f"{one.annotator}={one.agreement:.6f};" for one in versions)
    if not accepted.task_id and accepted.run.spec.stage == concepts_pb2.STAGE_AUTOMATIC:
        fields["done"] = _second(timestamp_ms)
    return Learnt(image.tenant, accepted.run.job_id, image.id, fields)


def of_dead_letter(
    topic: str, key: str, headers: Mapping[str, str], offset: int, *, reason: str, error: str, group: str
) -> Learnt | None:
    """A record of the topic could not be worked; None where that does not stop an image."""
    tenant, job_id = headers.get("tenant", ""), headers.get("job_id", "")
    if topic not in _STEPS or not tenant or not job_id or not key:
        return None
    if topic in _PEOPLE_TOPICS and group not in _PIPELINE_GROUPS:
        return None  # the trainer's troubles are not the image's
    step = str(_STEPS[topic])
    return Learnt(
        tenant,
        job_id,
        key,
        {
            "step": str(min(4, _STEPS[topic])),
            "failure": f"{step}|{topic}|{order(offset)}",
            "topic": topic,
            "error": error,
            "reason": reason,
            "attempts": headers.get("attempts", "0"),
        },
    )


def record_name(accepted: records_pb2.AnnotationsAccepted) -> str:
    """The name of a run's record: the same for what withdraws it."""
    return round_name(accepted.task_id, accepted.round) if accepted.task_id else MODELS


def round_name(task_id: str, number: int) -> str:
    """What a task's decision is named by: the task, and the round from the second on."""
    return f"{task_id}.{number}" if number else task_id


def pair_key(accepted: records_pb2.AnnotationsAccepted, pair: concepts_pb2.Pair) -> str:
    """What a later record of the run replaces: the phrase; of gold, the phrase as each annotator has it.

    The version of record that a lead makes of a gold image stands beside those.
    """
    annotator = pair.provenance.annotator
    if accepted.adjudicated:
        return f"{pair.phrase}\x1f"
    if accepted.tier == concepts_pb2.TIER_GOLD and annotator:
        return f"{pair.phrase}\x1f{annotator}"
    return pair.phrase


def merged(records: Sequence[records_pb2.AnnotationsAccepted]) -> list[Annotation]:
    """The pairs of a run that stand, by phrase, from its records in the log's order: a later one replaces."""
    found: dict[str, Annotation] = {}
    agreed = _agreement(records)
    for record in records:
        for pair in record.pairs:
            key = pair_key(record, pair)
            if pair.verdict == concepts_pb2.VERDICT_REJECT:
                found.pop(key, None)
            else:
                found[key] = Annotation(pair, record, agreed.get(pair.phrase))
    return [found[key] for key in sorted(found)]


def of_record(
    records: Sequence[records_pb2.AnnotationsAccepted], found: Sequence[Annotation]
) -> list[Annotation]:
    """Of a run's pairs those of record: of a gold image that a lead has adjudicated, the lead's alone."""
    if not any(record.adjudicated for record in records):
        return list(found)
    return [one for one in found if one.record.adjudicated]


def _agreement(records: Iterable[records_pb2.AnnotationsAccepted]) -> dict[str, float]:
    """By phrase, how far the three versions of a gold image agree, while all three stand."""
    latest: records_pb2.Agreement | None = None
    names = set()
    for record in records:
        names.add(record_name(record))
        if record.HasField("agreement"):
            latest = record.agreement
    if latest is None or any(round_name(v.task_id, v.round) not in names for v in latest.annotators):
        return {}
    return {one.phrase: one.agreement for one in latest.pairs}


def best_of_runs(runs: Sequence[Sequence[Annotation]]) -> list[Annotation]:
    """One image's pairs over several jobs, by phrase: the better tier, then the later job as given."""
    found: dict[str, tuple[int, int, Annotation]] = {}
    for number, run in enumerate(runs):
        for one in run:
            key = pair_key(one.record, one.pair)
            rank = _TIERS.get(one.record.tier, 0)
            if key not in found or (rank, number) >= found[key][:2]:
                found[key] = (rank, number, one)
    return [found[key][2] for key in sorted(found)]


def state_name(state: dataset_pb2.ImageState.ValueType) -> str:
    """`segmented` for IMAGE_STATE_SEGMENTED."""
    return dataset_pb2.ImageState.Name(state).removeprefix("IMAGE_STATE_").lower()


STATES: Final[Mapping[str, dataset_pb2.ImageState.ValueType]] = {
    state_name(state): state for state in dataset_pb2.ImageState.values() if state
}


def status(counts: Mapping[str, int], images: int, *, cancelled: bool) -> dataset_pb2.JobStatus.ValueType:
    """Where a job is, by its images' states."""
    if cancelled:
        return dataset_pb2.JOB_STATUS_CANCELLED
    ended = counts.get("complete", 0) + counts.get("failed", 0)
    if ended >= images:
        return dataset_pb2.JOB_STATUS_COMPLETE
    if ended + counts.get("in_review", 0) >= images:
        return dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE
    return dataset_pb2.JOB_STATUS_RUNNING


def rate(buckets: Mapping[int, int], first: int, last: int) -> float:
    """Images a second over the last minute of activity, from images by second.

    `first` and `last` are the first and last seconds of all activity; the first second counts as a whole one.
    """
    if not buckets:
        return 0.0
    since = max(first, last - RATE_SECONDS + 1)
    return sum(n for second, n in buckets.items() if second >= since) / (last - since + 1)


def eta(
    counts: Mapping[str, int],
    stage: concepts_pb2.Stage.ValueType,
    per_second: float,
    where: dataset_pb2.JobStatus.ValueType,
) -> float:
    """Seconds until the models are done; negative: unknown."""
    if where != dataset_pb2.JOB_STATUS_RUNNING:
        return 0.0
    waiting = ["submitted", "proposed", "segmented"]
    if stage == concepts_pb2.STAGE_AUTOMATIC:
        waiting.append("verified")
    left = sum(counts.get(state, 0) for state in waiting)
    if not left:
        return 0.0
    return left / per_second if per_second > 0 else -1.0


def _code(pair: concepts_pb2.Pair) -> str:
    if pair.verdict == concepts_pb2.VERDICT_REJECT:
        return "x"
    return "n" if pair.polarity == concepts_pb2.POLARITY_NEGATIVE else "p"


def _plain(text: str) -> str:
    return text.replace("\t", " ").replace("\n", " ")


def _second(milliseconds: int) -> str:
    return str(milliseconds // 1000)

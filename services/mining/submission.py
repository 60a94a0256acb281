"""Checks of what a browser sends as a decision. Pure; what comes out is what is written to the log."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from services.core import masks, phrases
from services.core.errors import InvalidInput, TooLarge
from services.mining.domain.tasks import WHOLE_IMAGE
from tercet.v1 import concepts_pb2, records_pb2

MAX_ID_CHARACTERS = 128
MAX_COMMENT_CHARACTERS = 2000
MAX_ACTIVE_SECONDS = 24 * 3600.0
_ROUNDING = 0.5  # pixels; the box that is stored is read off the mask


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one decision may hold."""

    masks_a_pair: int = 300
    pairs: int = 200


def checked(
    task: records_pb2.ReviewTask,
    decision: records_pb2.ReviewDecision,
    now: Timestamp,
    limits: Limits,
    taken: Collection[str] = (),
) -> records_pb2.ReviewDecision:
    """The decision as it is stored: phrases normalised, boxes and areas read off the masks, makers set by us.

    A mask that the task had already keeps its scores and provenance; any other was made by the annotator.
    `taken`: phrases of the image beside those that the task names. Raises `InvalidInput` or `TooLarge`,
    naming the pair and mask at fault.
    """
    _check_form(decision)
    stored = records_pb2.ReviewDecision(
        id=decision.id,
        task_id=task.id,
        annotator=decision.annotator,
        decided_at=decision.decided_at if decision.HasField("decided_at") else now,
        active_seconds=decision.active_seconds,
        kind=decision.kind,
        comment=decision.comment,
        request_digest=digest(decision),
    )
    if task.type == records_pb2.TASK_TYPE_ADJUDICATE:
        if decision.kind != records_pb2.DECISION_KIND_EDIT:
            raise InvalidInput("an adjudication is an edit: send the version of record, with all its pairs")
    elif task.type == records_pb2.TASK_TYPE_ANNOTATE:
        if decision.kind == records_pb2.DECISION_KIND_REJECT and decision.pairs:
            raise InvalidInput("a rejected image has no pairs; send them with accept or edit, or none")
    elif decision.kind != records_pb2.DECISION_KIND_EDIT:
        return stored  # the pair stands or falls as the task has it, whatever was sent
    elif not decision.pairs:
        raise InvalidInput("an edited pair's task takes its pair first, then new ones; there is none")
    if len(decision.pairs) > limits.pairs:
        raise TooLarge(f"{len(decision.pairs)} pairs; at most {limits.pairs} are taken")
    maker = concepts_pb2.Provenance(annotator=decision.annotator, made_at=stored.decided_at)
    known = {mask.counts: mask for mask in _masks_of(task)}
    on_image = {task.pair.phrase, *taken, *(one.phrase for one in task.siblings)}
    seen: set[str] = set()
    for number, pair in enumerate(decision.pairs):
        clean = _pair(task, pair, known, maker, limits)
        if clean.phrase in seen:
            raise InvalidInput(f"the phrase {clean.phrase!r} comes twice; put its masks into one pair")
        if number and task.type not in WHOLE_IMAGE and clean.phrase in on_image:
            raise InvalidInput(f"the image has {clean.phrase!r} already; only new phrases may be added here")
        seen.add(clean.phrase)
        stored.pairs.append(clean)
    return stored


def digest(decision: records_pb2.ReviewDecision) -> str:
    """SHA-256 of what is decided, as it was sent: kind and pairs. A retry may count more active seconds."""
    what = records_pb2.ReviewDecision(kind=decision.kind, pairs=decision.pairs)
    return hashlib.sha256(what.SerializeToString(deterministic=True)).hexdigest()


def _check_form(decision: records_pb2.ReviewDecision) -> None:
    if not decision.id or len(decision.id) > MAX_ID_CHARACTERS:
        raise InvalidInput(f"a decision needs an id of 1 to {MAX_ID_CHARACTERS} characters")
    if not decision.annotator:
        raise InvalidInput("a decision needs its annotator")
    if decision.kind not in (
        records_pb2.DECISION_KIND_ACCEPT,
        records_pb2.DECISION_KIND_REJECT,
        records_pb2.DECISION_KIND_EDIT,
    ):
        raise InvalidInput("a decision is accept, reject or edit")
    if not math.isfinite(decision.active_seconds) or not 0 <= decision.active_seconds <= MAX_ACTIVE_SECONDS:
        raise InvalidInput(f"active_seconds is between 0 and {MAX_ACTIVE_SECONDS:.0f}")
    if len(decision.comment) > MAX_COMMENT_CHARACTERS:
        raise TooLarge(f"the comment is longer than {MAX_COMMENT_CHARACTERS} characters")


def _pair(
    task: records_pb2.ReviewTask,
    sent: concepts_pb2.Pair,
    known: dict[bytes, concepts_pb2.Mask],
    maker: concepts_pb2.Provenance,
    limits: Limits,
) -> concepts_pb2.Pair:
    old = task.pair if task.HasField("pair") else None
    phrase = sent.phrase if old is not None and sent.phrase == old.phrase else phrases.normalise(sent.phrase)
    pair = concepts_pb2.Pair()
    if old is not None and phrase == old.phrase:
        pair.CopyFrom(old)
        del pair.masks[:]
        pair.ClearField("exhaustivity")
        pair.ClearField("negative")
    else:
        pair.phrase = phrase
        pair.source = concepts_pb2.PHRASE_SOURCE_PERSON
        pair.provenance.CopyFrom(maker)
    pair.polarity = sent.polarity
    pair.hard_negative = sent.hard_negative and sent.polarity == concepts_pb2.POLARITY_NEGATIVE
    pair.confused_with = sent.confused_with if pair.hard_negative else ""
    pair.exhaustive = sent.exhaustive and sent.polarity == concepts_pb2.POLARITY_POSITIVE
    if sent.polarity == concepts_pb2.POLARITY_NEGATIVE:
        if sent.masks:
            raise InvalidInput(f"{phrase!r} is negative and has masks; a negative has none")
        return pair
    if sent.polarity != concepts_pb2.POLARITY_POSITIVE:
        raise InvalidInput(f"{phrase!r} is neither positive nor negative")
    if not sent.masks:
        raise InvalidInput(f"{phrase!r} is positive and has no mask; mark an instance or make it negative")
    if len(sent.masks) > limits.masks_a_pair:
        raise TooLarge(f"{phrase!r} has {len(sent.masks)} masks; at most {limits.masks_a_pair} are taken")
    for number, mask in enumerate(sent.masks, start=1):
        try:
            pair.masks.append(_mask(task.image, mask, known, maker))
        except InvalidInput as error:
            raise InvalidInput(f"{phrase!r}, mask {number}: {error}") from error
    return pair


def _mask(
    image: records_pb2.Image,
    sent: concepts_pb2.Mask,
    known: dict[bytes, concepts_pb2.Mask],
    maker: concepts_pb2.Provenance,
) -> concepts_pb2.Mask:
    if (sent.height, sent.width) != (image.height, image.width):
        raise InvalidInput(
            f"the mask is {sent.width} x {sent.height}; the image is {image.width} x {image.height} pixels"
        )
    masks.check(sent.counts, sent.height, sent.width)
    box = sent.box
    if sent.HasField("box"):
        edges = (box.x, box.y, box.width, box.height)
        inside = min(box.x, box.y) >= -_ROUNDING and box.width >= 0 and box.height >= 0
        right, bottom = box.x + box.width, box.y + box.height
        within = right <= image.width + _ROUNDING and bottom <= image.height + _ROUNDING
        if not all(map(math.isfinite, edges)) or not inside or not within:
            raise InvalidInput("its box is not inside the image")
    if sent.counts in known:
        return known[sent.counts]
    area = masks.area(sent.counts, sent.height, sent.width)
    if area == 0:
        raise InvalidInput("it is empty")
    x, y, width, height = masks.box(sent.counts, sent.height, sent.width)
    return concepts_pb2.Mask(
        counts=sent.counts,
        height=sent.height,
        width=sent.width,
        box=concepts_pb2.Box(x=x, y=y, width=width, height=height),
        area=area,
        provenance=maker,
    )


def _masks_of(task: records_pb2.ReviewTask) -> Iterable[concepts_pb2.Mask]:
    yield from task.pair.masks
    for version in task.versions:
        for pair in version.pairs:
            yield from pair.masks
    for region in task.regions:
        if region.HasField("mask"):
            yield region.mask

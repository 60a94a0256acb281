"""What a browser may send: sizes, boxes, labels, numbers of masks; who made what is ours to say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from services.core import masks
from services.core.errors import InvalidInput, TooLarge
from services.mining.domain.tasks import timestamp
from services.mining.submission import Limits, checked
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs

NOW = timestamp(1_700_000_999_000)
EDIT = records_pb2.DECISION_KIND_EDIT
LIMITS = Limits(masks_a_pair=3, pairs=2)


def review(pair: concepts_pb2.Pair | None = None) -> records_pb2.ReviewTask:
    return records_pb2.ReviewTask(
        id="task",
        type=records_pb2.TASK_TYPE_REVIEW,
        image=runs.image(),
        run=runs.run(),
        pair=pair if pair is not None else runs.pair("dog"),
    )


def annotate() -> records_pb2.ReviewTask:
    return records_pb2.ReviewTask(
        id="task",
        type=records_pb2.TASK_TYPE_ANNOTATE,
        image=runs.image(),
        run=runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL),
        regions=[concepts_pb2.Region(mask=runs.mask(10, 2, 3))],
    )


def check(
    task: records_pb2.ReviewTask, *pairs: concepts_pb2.Pair, kind: records_pb2.DecisionKind.ValueType = EDIT
) -> records_pb2.ReviewDecision:
    return checked(task, runs.decision(task, kind, pairs=pairs), NOW, LIMITS)


def drawn(x: int = 3, side: int = 4) -> concepts_pb2.Mask:
    """A mask as a browser sends it: with whatever scores and makers it likes."""
    mask = runs.mask(x, 2, side)
    mask.provenance.annotator = "somebody else"
    mask.area = 7
    return mask


def test_masks_of_the_task_keep_their_maker_and_others_are_the_annotators() -> None:
    task = review()
    sent = runs.pair("dog", masks=[runs.mask(), drawn()])
    sent.masks[0].score = 0.123
    (pair,) = check(task, sent).pairs
    kept, made = pair.masks
    assert kept == task.pair.masks[0]
    assert (made.provenance.annotator, made.area, made.predicted_iou) == ("ann", 16, 0.0)
    assert (made.box.x, made.box.y, made.box.width, made.box.height) == (3, 2, 4, 4)
    assert not made.HasField("verification")
    assert pair.score == task.pair.score


def test_regions_of_an_annotate_task_are_known_too() -> None:
    task = annotate()
    (pair,) = check(task, runs.pair("The Dogs", masks=[runs.mask(10, 2, 3)])).pairs
    assert pair.phrase == "dog"
    assert pair.masks[0] == task.regions[0].mask
    assert (pair.source, pair.provenance.annotator) == (concepts_pb2.PHRASE_SOURCE_PERSON, "ann")


def test_accepting_takes_the_pair_as_the_task_has_it() -> None:
    stored = check(review(), runs.pair("smuggled"), kind=records_pb2.DECISION_KIND_ACCEPT)
    assert not stored.pairs


def test_the_decision_keeps_who_when_and_how_long() -> None:
    stored = check(review(), runs.pair("dog"))
    assert (stored.id, stored.annotator, stored.active_seconds) == ("d-1", "ann", 2.5)
    assert stored.decided_at.seconds == runs.SUBMITTED_AT + 60
    task = review()
    sent = runs.decision(task)
    sent.ClearField("decided_at")
    assert checked(task, sent, NOW, LIMITS).decided_at == NOW


def test_a_negative_has_no_masks_and_keeps_what_it_is_confused_with() -> None:
    wolf = runs.negative("wolf")
    (pair,) = check(annotate(), wolf).pairs
    assert (pair.hard_negative, pair.confused_with, len(pair.masks)) == (True, "dog", 0)


def wrong_size(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].height = 11


def broken_rle(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].counts = b"12"


def endless_rle(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].counts = b"o" * 100


def malformed_rle(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].counts = b"\x00\xff"


def empty_mask(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].counts = masks.encode(np.zeros((runs.HEIGHT, runs.WIDTH), dtype=np.bool_))


def box_outside(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].box.width = 100


def box_not_a_number(pair: concepts_pb2.Pair) -> None:
    pair.masks[0].box.x = float("nan")


def no_mask(pair: concepts_pb2.Pair) -> None:
    del pair.masks[:]


def negative_with_mask(pair: concepts_pb2.Pair) -> None:
    pair.polarity = concepts_pb2.POLARITY_NEGATIVE


def no_polarity(pair: concepts_pb2.Pair) -> None:
    pair.polarity = concepts_pb2.POLARITY_UNSPECIFIED


def sentence(pair: concepts_pb2.Pair) -> None:
    pair.phrase = "there is a dog"


def markup(pair: concepts_pb2.Pair) -> None:
    pair.phrase = "<img src=x>"


def too_many_masks(pair: concepts_pb2.Pair) -> None:
    for x in range(4):
        pair.masks.append(runs.mask(x, 0, 2))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (wrong_size, "20 x 10 pixels"),
        (broken_rle, "covers"),
        (malformed_rle, "malformed"),
        (endless_rle, "endless"),
        (empty_mask, "empty"),
        (box_outside, "not inside"),
        (box_not_a_number, "not inside"),
        (no_mask, "no mask"),
        (negative_with_mask, "has none"),
        (no_polarity, "neither"),
        (sentence, "sentence"),
        (markup, "signs"),
        (too_many_masks, "at most 3"),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason(
    spoil: Callable[[concepts_pb2.Pair], None], why: str
) -> None:
    pair = runs.pair("cat", masks=[drawn()])
    spoil(pair)
    with pytest.raises(InvalidInput, match=why):
        check(review(), pair)


def test_pairs_are_counted_and_come_once() -> None:
    with pytest.raises(TooLarge, match="at most 2"):
        check(annotate(), *(runs.pair(name) for name in ("a dog", "a cat", "a cow")))
    with pytest.raises(InvalidInput, match="twice"):
        check(annotate(), runs.pair("dog"), runs.pair("the dogs"))
    with pytest.raises(InvalidInput, match="no pairs"):
        check(annotate(), runs.pair("dog"), kind=records_pb2.DECISION_KIND_REJECT)


def test_new_phrases_of_the_image_follow_the_tasks_own_pair() -> None:
    task = review()
    task.siblings.add(phrase="cat")
    kite = runs.pair("The Kites", masks=[runs.mask(), drawn(10)])
    dog, new = check(task, runs.pair("dog"), kite).pairs
    assert (dog.phrase, dog.source, new.phrase, new.source) == (
        "dog",
        concepts_pb2.PHRASE_SOURCE_MODEL,
        "kite",
        concepts_pb2.PHRASE_SOURCE_PERSON,
    )
    assert new.provenance.annotator == new.masks[1].provenance.annotator == "ann"
    assert new.score == 0.0  # the models said nothing of it
    for taken, phrase in (((), "cats"), (("kite",), "kite")):
        sent = [runs.pair("dog"), runs.pair(phrase)]
        with pytest.raises(InvalidInput, match="already"):
            checked(task, runs.decision(task, EDIT, pairs=sent), NOW, LIMITS, taken)
    with pytest.raises(InvalidInput, match="already"):  # its own pair goes first
        check(task, runs.pair("kite"), runs.pair("dog"))
    with pytest.raises(InvalidInput, match="there is none"):
        check(task)
    with pytest.raises(TooLarge, match="at most 2"):
        check(task, runs.pair("dog"), runs.pair("kite"), runs.pair("boat"))


def test_an_adjudication_is_an_edit_and_keeps_the_makers_of_masks() -> None:
    mine = runs.mask(2)
    mine.provenance.annotator = "bob"
    task = records_pb2.ReviewTask(
        id="task",
        type=records_pb2.TASK_TYPE_ADJUDICATE,
        image=runs.image(),
        run=runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL),
        versions=[records_pb2.GoldVersion(annotator="bob", pairs=[runs.pair("dog", masks=[mine])])],
    )
    (dog,) = check(task, runs.pair("dog", masks=[drawn(2), drawn(12)])).pairs
    assert [mask.provenance.annotator for mask in dog.masks] == ["ann", "ann"]
    (dog,) = check(task, runs.pair("dog", masks=[runs.mask(2), drawn(12)])).pairs
    assert [mask.provenance.annotator for mask in dog.masks] == ["bob", "ann"]
    assert not check(task).pairs  # nothing is there, after all
    for kind in (records_pb2.DECISION_KIND_ACCEPT, records_pb2.DECISION_KIND_REJECT):
        with pytest.raises(InvalidInput, match="version of record"):
            check(task, kind=kind)


def test_an_undo_is_no_decision_that_is_sent() -> None:
    with pytest.raises(InvalidInput, match="accept, reject or edit"):
        check(review(), runs.pair("dog"), kind=records_pb2.DECISION_KIND_UNDO)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"id": ""},
        {"id": "x" * 129},
        {"annotator": ""},
        {"kind": records_pb2.DECISION_KIND_UNSPECIFIED},
        {"active_seconds": -1.0},
        {"active_seconds": float("inf")},
        {"comment": "x" * 2001},
    ],
)
def test_the_form_of_a_decision(spoiled: dict[str, object]) -> None:
    task = review()
    sent = runs.decision(task)
    for name, value in spoiled.items():
        setattr(sent, name, value)
    with pytest.raises(InvalidInput):
        checked(task, sent, NOW, LIMITS)

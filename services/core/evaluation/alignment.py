"""Which predicted pair answers which pair of the truth, over one or several truth files.

Files that number their pairs alike are joined by id. Others, such as an export compared with the truth of the
images it came from, are joined by image and phrase: by full file name, else by its last part without
extension and without the image id that Tercet's exports add.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.core.errors import InvalidInput
from services.core.evaluation.pairs import Instance, Pair, PairId, PairSet, Results
from services.core.evaluation.saco import check_size

_IMAGE_ID = re.compile(r"-[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """One pair that counts: what each truth file says of it, and what is predicted; all masks of one size."""

    golds: tuple[Pair, ...]
    predicted: tuple[Instance, ...]
    presence: float | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class Alignment:
    """The pairs that count, by id, and how many do not.

    `not_exhaustive`: pairs that some truth file does not annotate exhaustively. `unanswered`: pairs that
    count without an entry in an SA-Co prediction, taken as predicted absent. `unjudged`: predicted pairs of
    which the truth says nothing.
    """

    pairs: tuple[AlignedPair, ...]
    not_exhaustive: int
    unanswered: int
    unjudged: int


def align(prediction: PairSet | Results, golds: Sequence[PairSet | Results]) -> Alignment:
    """Join a prediction with its truth files. Raises `InvalidInput` where they are not about the same pairs.

    Only pairs that are exhaustive in every truth file count: in others a right mask may look wrong.
    """
    truths = [_truth(gold) for gold in golds]
    if not truths:
        raise InvalidInput("there is no truth to compare with")
    first = truths[0]
    others = [_same_pairs(first, other) for other in truths[1:]]
    answers = _answers(prediction, first)
    counted: list[AlignedPair] = []
    unanswered = 0
    for pair in sorted(first.pairs, key=lambda one: (isinstance(one.id, str), one.id)):
        said = (pair, *(other[pair.id] for other in others))
        if not all(one.exhaustive for one in said):
            continue
        answer = answers.get(pair.id)
        unanswered += answer is None and isinstance(prediction, PairSet)
        counted.append(
            AlignedPair(
                golds=said,
                predicted=answer.instances if answer else (),
                presence=answer.presence if answer else None,
                quality=answer.quality if answer else None,
            )
        )
    if not counted:
        raise InvalidInput(f"no pair of {first.name} is exhaustive in every truth file: nothing counts")
    predicted = len(prediction.pairs) if isinstance(prediction, PairSet) else len(prediction.instances)
    return Alignment(
        pairs=tuple(counted),
        not_exhaustive=len(first.pairs) - len(counted),
        unanswered=unanswered,
        unjudged=predicted - len(answers),
    )


def _truth(gold: PairSet | Results) -> PairSet:
    if isinstance(gold, Results):
        raise InvalidInput(f"{gold.name} is a list of results; the truth must be SA-Co JSON")
    for pair in gold.pairs:
        if pair.exhaustive is None:
            raise InvalidInput(
                f"{gold.name}: pair {pair.id!r} lacks `is_instance_exhaustive`; the truth needs it"
            )
    return gold


def _same_pairs(first: PairSet, other: PairSet) -> Mapping[PairId, Pair]:
    """The other truth's pairs under the first's ids."""
    found = _counterparts(other, first)
    missing = next((pair for pair in first.pairs if pair.id not in found), None)
    if missing is not None:
        raise InvalidInput(f"{other.name} lacks a pair of {first.name}: {_told(missing)}")
    if len(found) < len(other.pairs):
        known = {id(pair) for pair in found.values()}
        extra = next(pair for pair in other.pairs if id(pair) not in known)
        raise InvalidInput(f"{first.name} lacks a pair of {other.name}: {_told(extra)}")
    return found


def _answers(prediction: PairSet | Results, gold: PairSet) -> Mapping[PairId, Pair]:
    """What is predicted, under the truth's ids."""
    if isinstance(prediction, PairSet):
        found = _counterparts(prediction, gold)
        if not found:
            raise InvalidInput(
                f"{prediction.name} and {gold.name} do not match: they share no image and phrase"
            )
        return found
    by_id = {pair.id: pair for pair in gold.pairs}
    answers: dict[PairId, Pair] = {}
    for pair_id, instances in prediction.instances.items():
        if pair_id not in by_id:
            raise InvalidInput(f"{prediction.name}: image_id {pair_id!r} is no pair of {gold.name}")
        pair = by_id[pair_id]
        where = f"{prediction.name}, a mask of image_id {pair_id!r}"
        for instance, size in instances:
            check_size(instance, size, (pair.height, pair.width), where)
        kept = tuple(instance for instance, _ in instances)
        answers[pair_id] = Pair(pair_id, pair.file_name, pair.phrase, pair.height, pair.width, kept)
    return answers


def _counterparts(pair_set: PairSet, gold: PairSet) -> Mapping[PairId, Pair]:
    """Pairs of the set under the ids of the truth's pairs that they are about; others are left out."""
    by_id = {pair.id: pair for pair in pair_set.pairs}
    shared = [pair for pair in gold.pairs if pair.id in by_id]
    if len(shared) in (len(by_id), len(gold.pairs)) and all(_alike(pair, by_id[pair.id]) for pair in shared):
        found = {pair.id: by_id[pair.id] for pair in shared}
    else:
        found = _by_name(pair_set, gold, _full) or _by_name(pair_set, gold, _stem)
    for pair in gold.pairs:
        other = found.get(pair.id, pair)
        if (other.height, other.width) != (pair.height, pair.width):
            raise InvalidInput(
                f"{pair_set.name} and {gold.name} do not match: {_told(pair)} is {other.width} x "
                f"{other.height} in the one, {pair.width} x {pair.height} pixels in the other"
            )
    return found


def _by_name(pair_set: PairSet, gold: PairSet, key: Callable[[Pair], Hashable]) -> dict[PairId, Pair]:
    """The join by a key. Raises `InvalidInput` where a shared key stands for several pairs of one file."""
    ours: dict[Hashable, list[Pair]] = {}
    theirs: dict[Hashable, list[Pair]] = {}
    for side, pairs in ((ours, pair_set.pairs), (theirs, gold.pairs)):
        for pair in pairs:
            side.setdefault(key(pair), []).append(pair)
    found: dict[PairId, Pair] = {}
    for name in ours.keys() & theirs.keys():
        for source, same in ((pair_set, ours[name]), (gold, theirs[name])):
            if len(same) > 1:
                files = " and ".join(dict.fromkeys(pair.file_name for pair in same))
                raise InvalidInput(
                    f"{source.name} has `{same[0].phrase}` {len(same)} times in {files}, and its ids are not "
                    "those of the other file: it is not clear which is meant"
                )
        found[theirs[name][0].id] = ours[name][0]
    return found


def _alike(first: Pair, second: Pair) -> bool:
    return _full(first) == _full(second) or _stem(first) == _stem(second)


def _full(pair: Pair) -> Hashable:
    return pair.file_name, _phrase(pair)


def _stem(pair: Pair) -> Hashable:
    return _IMAGE_ID.sub("", PurePosixPath(pair.file_name).stem), _phrase(pair)


def _phrase(pair: Pair) -> str:
    return " ".join(pair.phrase.split()).casefold()


def _told(pair: Pair) -> str:
    return f"`{pair.phrase}` in {pair.file_name}"

"""What the log says of single pairs, for the gallery and for the phrases. Pure: same record, same words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.dataset import domain
from tercet.v1 import concepts_pb2, records_pb2

VERIFIED: Final = "verified"
"""Name of the models' verdicts of a run, beside those of the annotations of record."""
ACCEPT, REVIEW, REJECT, RENAMED = "a", "r", "x", "g"
_GOOD_MASK: Final = (concepts_pb2.MASK_CHOICE_ACCEPT, concepts_pb2.MASK_CHOICE_ACCEPT_AS_TEXT)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f;]")


@dataclass(frozen=True, slots=True)
class Said:
    """What a record says of an image's pairs: the arguments of `lua/say.lua`.

    `pairs`: phrase, slot, code and attributes of each. `withdrawn`: what the record said is no longer so.
    """

    tenant: str
    job_id: str
    image_id: str
    record: str
    rank: int
    order: str
    pairs: Sequence[tuple[str, str, str, str]] = ()
    withdrawn: bool = False


def concerns_people(verified: records_pb2.ImageVerified) -> bool:
    """Whether a pair of the image may wait for people, so that its content must be kept."""
    if verified.run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
        return False
    by_models = verified.run.spec.stage == concepts_pb2.STAGE_AUTOMATIC
    return bool(verified.pairs) and not (by_models and all(map(_plainly_accepted, verified.pairs)))


def of_verified(verified: records_pb2.ImageVerified, offset: int) -> Said | None:
    """The models' verdicts; None where nothing waits for people."""
    if not concerns_people(verified):
        return None
    first: dict[str, concepts_pb2.Pair] = {}
    for pair in verified.pairs:
        first.setdefault(pair.phrase, pair)
    codes = {concepts_pb2.VERDICT_REJECT: REJECT}
    pairs = [(_plain(p.phrase), "", codes.get(p.verdict, REVIEW), _attributes(p)) for p in first.values()]
    image = verified.image
    return Said(image.tenant, verified.run.job_id, image.id, VERIFIED, 0, domain.order(offset), pairs)


def of_completed(completed: records_pb2.ReviewCompleted, offset: int) -> Said:
    """A person's decision: who it was, and what became of the phrase that was asked for."""
    task, decision = completed.task, completed.decision
    image = task.image
    record, at = domain.round_name(task.id, task.round), domain.order(offset)
    if decision.kind == records_pb2.DECISION_KIND_UNDO:
        return Said(completed.tenant, task.run.job_id, image.id, record, 1, at, withdrawn=True)
    who = f"a:{_token(decision.annotator)}"
    left = [pair.phrase for pair in decision.pairs]
    codes = dict.fromkeys(left, ACCEPT)
    if task.HasField("pair"):
        asked = task.pair.phrase
        if decision.kind == records_pb2.DECISION_KIND_REJECT:
            codes[asked] = REJECT
        elif decision.kind == records_pb2.DECISION_KIND_EDIT and asked not in left:
            codes[asked] = RENAMED
        else:
            codes[asked] = ACCEPT
    pairs = [(_plain(phrase), "", code, who) for phrase, code in codes.items()]
    return Said(completed.tenant, task.run.job_id, image.id, record, 1, at, pairs)


def of_accepted(accepted: records_pb2.AnnotationsAccepted, offset: int) -> Said:
    """Annotations of record."""
    image = accepted.image
    record, at = domain.record_name(accepted), domain.order(offset)
    if accepted.withdrawn:
        return Said(image.tenant, accepted.run.job_id, image.id, record, 2, at, withdrawn=True)
    pairs = []
    for pair in accepted.pairs:
        code = REJECT if pair.verdict == concepts_pb2.VERDICT_REJECT else ACCEPT
        pairs.append((_plain(pair.phrase), slot(accepted, pair), code, _attributes(pair)))
    return Said(image.tenant, accepted.run.job_id, image.id, record, 2, at, pairs)


def slot(accepted: records_pb2.AnnotationsAccepted, pair: concepts_pb2.Pair) -> str:
    """Whose version of a gold pair it is; empty for others. A lead's is `lead`."""
    rest = domain.pair_key(accepted, pair).removeprefix(pair.phrase)
    if rest == "\x1f":
        return "lead"
    return _token(rest.removeprefix("\x1f"))


def find(
    pairs: Iterable[concepts_pb2.Pair], phrase: str, record: records_pb2.AnnotationsAccepted | None, of: str
) -> concepts_pb2.Pair | None:
    """The pair of a row among those of its record (None: the models' verdicts)."""
    for pair in pairs:
        if _plain(pair.phrase) == phrase and (record is None or slot(record, pair) == of):
            return pair
    return None


def _plainly_accepted(pair: concepts_pb2.Pair) -> bool:
    if pair.verdict != concepts_pb2.VERDICT_ACCEPT:
        return False
    if pair.polarity == concepts_pb2.POLARITY_NEGATIVE:
        return True
    return any(not m.HasField("verification") or m.verification.choice in _GOOD_MASK for m in pair.masks)


def _attributes(pair: concepts_pb2.Pair) -> str:
    """Polarity, score, and who took part: models by name and by weights, people by id."""
    sign = "n" if pair.polarity == concepts_pb2.POLARITY_NEGATIVE else "p"
    tokens: dict[str, None] = {}
    for made in _makers(pair):
        if made.WhichOneof("maker") == "annotator":
            tokens[f"a:{_token(made.annotator)}"] = None
            continue
        for text in (made.model.name, made.model.weights):
            for part in (text, *text.split("+")):
                if part:
                    tokens[f"m:{_token(part)}"] = None
    return f"{sign}\x1f{pair.score:.6f}\x1f;" + "".join(f"{token};" for token in tokens)


def _makers(pair: concepts_pb2.Pair) -> Iterator[concepts_pb2.Provenance]:
    yield pair.provenance
    yield pair.exhaustivity.provenance
    yield pair.negative.provenance
    for mask in pair.masks:
        yield mask.provenance
        yield mask.verification.provenance


def _plain(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _token(text: str) -> str:
    return _CONTROL.sub(" ", text)

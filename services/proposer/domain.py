"""From the models' tensors to proposals: which regions, phrases and hard negatives are worth showing on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core import masks
from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.core.phrases import normalise, normalise_all
from services.core.similarity import similarity
from services.core.suppression import suppress
from tercet.v1 import concepts_pb2

COUSINS = 8
"""Cousins of a kind that are tried: they are many, and far."""


def regions(
    tensors: Mapping[str, NDArray[Any]],
    provenance: concepts_pb2.Provenance,
    *,
    overlap: float,
    min_area: float,
    max_area: float,
    limit: int,
) -> list[concepts_pb2.Region]:
    """Class-agnostic regions of sam's everything-mode, best first.

    Quality is predicted IoU times stability. Of regions whose masks have an IoU above `overlap` the best
    stays; areas are shares of the image.
    """
    height, width = (int(v) for v in tensors["size"])
    areas = np.asarray(tensors["areas"], dtype=np.float64) / max(1, height * width)
    quality = np.nan_to_num(
        np.asarray(tensors["predicted_iou"], dtype=np.float64) * np.asarray(tensors["stability"], np.float64)
    )
    fits = np.flatnonzero((areas >= min_area) & (areas <= max_area) & (tensors["areas"] > 0))
    fits = fits[np.argsort(-quality[fits], kind="stable")][: 4 * limit]  # overlaps are counted in squares
    rles = [bytes(tensors["rles"][i]) for i in fits]
    kept = suppress(masks.iou(rles, rles, height, width), quality[fits], overlap)[:limit]
    return [_region(tensors, int(fits[k]), height, width, provenance) for k in kept]


def _region(
    tensors: Mapping[str, NDArray[Any]],
    at: int,
    height: int,
    width: int,
    provenance: concepts_pb2.Provenance,
) -> concepts_pb2.Region:
    x, y, w, h = (float(v) for v in tensors["boxes"][at])
    box = concepts_pb2.Box(x=x, y=y, width=w, height=h)
    mask = concepts_pb2.Mask(
        counts=bytes(tensors["rles"][at]),
        height=height,
        width=width,
        box=box,
        area=int(tensors["areas"][at]),
        predicted_iou=float(tensors["predicted_iou"][at]),
        stability=float(tensors["stability"][at]),
        provenance=provenance,
    )
    return concepts_pb2.Region(box=box, mask=mask)


def model_phrases(
    tensors: Mapping[str, NDArray[Any]], provenance: concepts_pb2.Provenance
) -> list[concepts_pb2.PhraseProposal]:
    """The proposer model's phrases, normalised, each once with its best score, best first.

    What the model wrote that is no noun phrase is left out: a model's slip is no fault of the image.
    """
    best: dict[str, float] = {}
    for phrase, score in _spelled(tensors["phrases"], tensors["phrase_scores"]):
        best[phrase] = max(score, best.get(phrase, 0.0))
    ranked = sorted(best.items(), key=lambda item: -item[1])
    return [_of_model(phrase, score, provenance) for phrase, score in ranked]


def swept_phrases(
    written: Sequence[concepts_pb2.PhraseProposal],
    joined: Mapping[str, float],
    provenance: concepts_pb2.Provenance,
) -> list[concepts_pb2.PhraseProposal]:
    """Proposals of joined phrases with their probability, in order: those written keep their provenance, the
    others have the grounder's.
    """
    makers = {proposal.phrase: proposal.provenance for proposal in written}
    return [_of_model(phrase, score, makers.get(phrase, provenance)) for phrase, score in joined.items()]


def _of_model(phrase: str, score: float, provenance: concepts_pb2.Provenance) -> concepts_pb2.PhraseProposal:
    return concepts_pb2.PhraseProposal(
        phrase=phrase, source=concepts_pb2.PHRASE_SOURCE_MODEL, score=score, provenance=provenance
    )


def caller_phrases(
    phrases: Sequence[str], provenance: concepts_pb2.Provenance
) -> list[concepts_pb2.PhraseProposal]:
    """The submitter's own phrases, normalised, each once, in order. `InvalidInput` for another text."""
    return [
        concepts_pb2.PhraseProposal(
            phrase=phrase, source=concepts_pb2.PHRASE_SOURCE_CALLER, score=1.0, provenance=provenance
        )
        for phrase in normalise_all(phrases)
    ]


def model_negatives(
    tensors: Mapping[str, NDArray[Any]],
    targets: Sequence[str],
    ontology: Ontology,
    provenance: concepts_pb2.Provenance,
) -> list[concepts_pb2.NegativeProposal]:
    """The proposer model's hard negatives, normalised.

    Each is paired with the target that the model confuses it with, else with the most similar one. Its
    score is the mean of that similarity and the model's own score; without targets the model's own.
    """
    named = [_or_empty(text) for text in tensors["confused_with"]]
    found: list[concepts_pb2.NegativeProposal] = []
    for at, (text, own) in enumerate(zip(tensors["negatives"], tensors["negative_scores"], strict=True)):
        phrase = _or_empty(text)
        if not phrase:
            continue
        own = _share(float(own))
        with_, score = "", own
        if targets:
            with_ = named[at] if named[at] in targets else _most_similar(phrase, targets, ontology)
            score = (own + similarity(phrase, with_, ontology)) / 2
        found.append(_negative(phrase, with_, score, concepts_pb2.PHRASE_SOURCE_MODEL, provenance))
    return found


def ontology_negatives(
    targets: Sequence[str], ontology: Ontology, provenance: concepts_pb2.Provenance
) -> list[concepts_pb2.NegativeProposal]:
    """Attribute swaps, siblings and nearest cousins of every target, scored by their similarity to it."""
    found: list[concepts_pb2.NegativeProposal] = []
    for target in targets:
        kind = ontology.read(target).kind
        others = [*ontology.siblings(kind), *ontology.cousins(kind)[:COUSINS]]
        candidates = [*ontology.swaps(target), *(ontology.with_kind(target, other) for other in others)]
        found += [
            _negative(
                phrase,
                target,
                similarity(phrase, target, ontology),
                concepts_pb2.PHRASE_SOURCE_ONTOLOGY,
                provenance,
            )
            for phrase in dict.fromkeys(candidates)
        ]
    return found


def hard_negatives(
    candidates: Iterable[concepts_pb2.NegativeProposal],
    present: Sequence[str],
    ontology: Ontology,
    *,
    limit: int,
) -> list[concepts_pb2.NegativeProposal]:
    """The best candidates that are not present, each phrase once, most confusable first.

    A phrase present in the image, its synonym, or one more general than it, is no negative: where there is a
    yellow bus there is a bus and a vehicle. The phrases that candidates are confused with take turns (each
    gives its best, then each its second), so that every one of them gets negatives.
    """
    best: dict[str, concepts_pb2.NegativeProposal] = {}
    for candidate in candidates:
        known = best.get(candidate.phrase)
        if known is None or candidate.score > known.score:
            best[candidate.phrase] = candidate
    absent = [c for c in best.values() if not any(ontology.is_ancestor(c.phrase, p) for p in present)]
    absent.sort(key=_most_confusable)
    taken: Counter[str] = Counter()
    turns: list[tuple[int, concepts_pb2.NegativeProposal]] = []
    for candidate in absent:
        turns.append((taken[candidate.confused_with], candidate))
        taken[candidate.confused_with] += 1
    turns.sort(key=lambda entry: entry[0])  # stable: within a turn the most confusable stays first
    return sorted((candidate for _, candidate in turns[:limit]), key=_most_confusable)


def _most_confusable(candidate: concepts_pb2.NegativeProposal) -> float:
    """Sorts the best score first; on a tie the order of the sources stays, nearest first."""
    return -round(candidate.score, 6)


def _negative(
    phrase: str,
    confused_with: str,
    score: float,
    source: concepts_pb2.PhraseSource.ValueType,
    provenance: concepts_pb2.Provenance,
) -> concepts_pb2.NegativeProposal:
    return concepts_pb2.NegativeProposal(
        phrase=phrase, source=source, score=score, confused_with=confused_with, provenance=provenance
    )


def _most_similar(phrase: str, targets: Sequence[str], ontology: Ontology) -> str:
    return max(targets, key=lambda target: similarity(phrase, target, ontology))


def _spelled(texts: NDArray[Any], scores: NDArray[Any]) -> list[tuple[str, float]]:
    """(phrase, score) of the texts that are noun phrases."""
    pairs = ((_or_empty(text), _share(float(score))) for text, score in zip(texts, scores, strict=True))
    return [(phrase, score) for phrase, score in pairs if phrase]


def _or_empty(text: bytes) -> str:
    """The phrase in its one spelling; empty for what is none."""
    try:
        return normalise(text.decode("utf-8", errors="replace"))
    except InvalidInput:
        return ""


def _share(score: float) -> float:
    """The score inside 0..1; NaN is 0."""
    return 0.0 if math.isnan(score) else min(1.0, max(0.0, score))

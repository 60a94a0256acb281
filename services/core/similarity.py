"""How easily a phrase is taken for another, 0..1, by their words and the ontology; no model is asked.

similarity = 0.6 * kind + 0.4 * modifiers where either phrase has modifiers, else kind alone.

- kind: 1 for one kind, 0.9 for a kind and what is above it, 0.7 for siblings, 0.5 for cousins; for other
  kinds half of the Dice coefficient of the nouns' character trigrams (`lampshade` and `lamp`: some; `cat`
  and `bus`: none).
- modifiers: the mean over all attributes and other words of either phrase of: 1 for the same value, 0.6 for
  one that is easily confused with it, 0.3 for another value of the same attribute, 0.2 for a word that the
  other phrase lacks.

The weights rank candidates (`orange bus` before `blue bus` before `blue truck` for `yellow bus`); they
claim no more than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.core.ontology import Ontology, Reading

_KIND_WEIGHT = 0.6
_SAME, _LINE, _SIBLING, _COUSIN, _SPELLING = 1.0, 0.9, 0.7, 0.5, 0.5
_NEAR, _FAR, _MISSING = 0.6, 0.3, 0.2


def similarity(first: str, second: str, ontology: Ontology) -> float:
    """Similarity of two normalised phrases; symmetric; 1 for phrases that are read alike."""
    a, b = ontology.read(first), ontology.read(second)
    kind = _kinds(a.kind, b.kind, ontology)
    modifiers = _modifiers(a, b, ontology)
    return kind if modifiers is None else _KIND_WEIGHT * kind + (1 - _KIND_WEIGHT) * modifiers


def nearest(phrase: str, others: Sequence[str], ontology: Ontology) -> tuple[str, float]:
    """The most similar of the others and its similarity; the earlier on a tie; `("", 0.0)` when there is
    none.
    """
    best, best_score = "", 0.0
    for other in others:
        score = similarity(phrase, other, ontology)
        if score > best_score:
            best, best_score = other, score
    return best, best_score


def _kinds(first: str, second: str, ontology: Ontology) -> float:
    if first == second:
        return _SAME
    if ontology.is_above(first, second) or ontology.is_above(second, first):
        return _LINE
    if second in ontology.siblings(first) or first in ontology.siblings(second):
        return _SIBLING
    if second in ontology.cousins(first) or first in ontology.cousins(second):
        return _COUSIN
    return _SPELLING * _dice(first, second)


def _modifiers(a: Reading, b: Reading, ontology: Ontology) -> float | None:
    """None when neither phrase has modifiers."""
    scores = [
        _values(name, a.attributes.get(name), b.attributes.get(name), ontology)
        for name in sorted({*a.attributes, *b.attributes})
    ]
    words_a, words_b = a.others | set(a.rest), b.others | set(b.rest)
    scores += [_SAME] * len(words_a & words_b) + [_MISSING] * len(words_a ^ words_b)
    return sum(scores) / len(scores) if scores else None


def _values(attribute: str, first: str | None, second: str | None, ontology: Ontology) -> float:
    if first is None or second is None:
        return _MISSING
    if first == second:
        return _SAME
    near = ontology.attributes[attribute]
    return _NEAR if second in near[first] or first in near[second] else _FAR


def _dice(first: str, second: str) -> float:
    """Dice coefficient of the character trigrams of the padded words."""
    a, b = _trigrams(first), _trigrams(second)
    shared = sum((a & b).values())
    return 2 * shared / (sum(a.values()) + sum(b.values()))


def _trigrams(word: str) -> Counter[str]:
    padded = f"  {word} "
    return Counter(padded[i : i + 3] for i in range(len(padded) - 2))

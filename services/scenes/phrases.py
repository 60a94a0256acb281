"""The phrases that hold in a scene, and the near misses that do not."""

from __future__ import annotations

from collections.abc import Sequence

from services.scenes.ontology import ontology
from services.scenes.scene import Composition, Scene

DEPTHS = (1, 2, 3)


def phrase_of(composition: Composition, depth: int) -> str:
    """`bus`, `yellow bus` or `yellow striped bus` for depth 1, 2 or 3."""
    colour, pattern, kind = composition
    return {1: kind, 2: f"{colour} {kind}", 3: f"{colour} {pattern} {kind}"}[depth]


def phrases(scene: Scene, depths: Sequence[int] = DEPTHS) -> dict[str, list[int]]:
    """Every phrase that holds in the scene, with the indices of all its instances; shallow phrases first."""
    found: dict[str, list[int]] = {}
    for depth in depths:
        for index, instance in enumerate(scene.instances):
            found.setdefault(phrase_of(instance.composition, depth), []).append(index)
    return found


def hard_negatives(scene: Scene, limit: int = 30, depths: Sequence[int] = DEPTHS) -> list[str]:
    """Near misses: one word of a present phrase changed for a sibling, a near colour or another pattern, and
    absent.

    Nearest first: a near colour or pattern before a far one or another kind, deeper phrases before shallow
    ones; what is equally near in the order of the alphabet.
    """
    words = ontology()
    present = set(phrases(scene))
    ranked: dict[str, int] = {}
    for instance in scene.instances:
        colour, pattern, kind = instance.composition
        changes: list[tuple[int, Composition]] = []
        changes += [(rank, (colour, near, kind)) for rank, near in enumerate(words.near[pattern])]
        changes += [(rank, (near, pattern, kind)) for rank, near in enumerate(words.near[colour])]
        changes += [(2 + rank, (colour, pattern, near)) for rank, near in enumerate(words.siblings[kind])]
        for depth in depths:
            for rank, changed in changes:
                text = phrase_of(changed, depth)
                if text not in present:
                    ranked[text] = min(ranked.get(text, 99), rank + 2 * (3 - depth))
    return sorted(ranked, key=lambda text: (ranked[text], text))[:limit]

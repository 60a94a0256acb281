"""The scenes' language: kinds with hypernyms and siblings, colours, patterns, and the compositions held out
of training.

A composition is a (colour, pattern, kind) triple, numbered `(colour * 4 + pattern) * 12 + kind` by the order
of `ontology.json`. Phrases have three depths: `bus`, `yellow bus`, `yellow striped bus`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import numpy as np

HELD_OUT_SEED = 123
HELD_OUT_COUNT = 24


@dataclass(frozen=True)
class Ontology:
    """`hypernyms[kind]`, `siblings[kind]`, `rgb[colour]`, `near[word]` (colours and patterns), plus phrases
    of no object at all: `whole_image` and `ungroundable`.
    """

    kinds: tuple[str, ...]
    colours: tuple[str, ...]
    patterns: tuple[str, ...]
    hypernyms: dict[str, tuple[str, ...]]
    siblings: dict[str, tuple[str, ...]]
    rgb: dict[str, tuple[int, int, int]]
    near: dict[str, tuple[str, ...]]
    whole_image: tuple[str, ...]
    ungroundable: tuple[str, ...]

    @cached_property
    def compositions(self) -> list[tuple[str, str, str]]:
        """All (colour, pattern, kind) triples in the order of their numbers."""
        return [(c, p, k) for c in self.colours for p in self.patterns for k in self.kinds]

    def number(self, colour: str, pattern: str, kind: str) -> int:
        """The composition's number."""
        ci, pi, ki = self.colours.index(colour), self.patterns.index(pattern), self.kinds.index(kind)
        return (ci * len(self.patterns) + pi) * len(self.kinds) + ki

    @cached_property
    def held_out(self) -> frozenset[tuple[str, str, str]]:
        """The compositions that training scenes never show, so that unseen phrases can be measured."""
        triples = self.compositions
        order = np.random.RandomState(HELD_OUT_SEED).permutation(len(triples))
        return frozenset(triples[i] for i in order[:HELD_OUT_COUNT])


@cache
def ontology() -> Ontology:
    """The ontology of `ontology.json`, read once."""
    raw = json.loads(resources.files(__package__).joinpath("ontology.json").read_text("utf-8"))
    kinds = raw["kinds"]
    near = {
        word: tuple(entry["near"]) for part in ("colours", "patterns") for word, entry in raw[part].items()
    }
    return Ontology(
        kinds=tuple(kinds),
        colours=tuple(raw["colours"]),
        patterns=tuple(raw["patterns"]),
        hypernyms={kind: tuple(entry["hypernyms"]) for kind, entry in kinds.items()},
        siblings={kind: tuple(entry["siblings"]) for kind, entry in kinds.items()},
        rgb={colour: (e["rgb"][0], e["rgb"][1], e["rgb"][2]) for colour, e in raw["colours"].items()},
        near=near,
        whole_image=tuple(raw["whole_image"]),
        ungroundable=tuple(raw["ungroundable"]),
    )

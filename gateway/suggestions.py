"""Phrases that the ontology offers for what a person begins to write, and why a negative is a hard one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final

from services.core.ontology import Ontology

_ARTICLES: Final = frozenset({"a", "an", "the"})


def normalised_prefix(text: str) -> str:
    """What a person begins to write, as phrases are spelled: NFKC, lower case, single spaces, no article."""
    words = unicodedata.normalize("NFKC", text).lower().replace("_", " ").split()
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return " ".join(words)


class Suggestions:
    """Over one ontology."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology

    def beginning(self, prefix: str, limit: int) -> list[str]:
        """Kinds of the ontology of which a word begins with the prefix; those that begin with it come first.

        Values of attributes before it are kept: `red b` gives `red bus`.
        """
        given, rest = self._attributes(prefix)
        first = [name for name in self._names if name.startswith(rest)]
        later = [name for name in self._names if f" {rest}" in name and not name.startswith(rest)]
        return [" ".join([*given, name]) for name in [*first, *later][:limit]]

    def why(self, phrase: str, confused_with: str) -> str:
        """Why a phrase is easily confused with one that is present, in words."""
        if not confused_with:
            return "the model takes it for something that is not in the image"
        one, other = self._ontology.read(phrase), self._ontology.read(confused_with)
        if one.kind == other.kind:
            swapped = [
                f"{value} instead of {other.attributes[name]}"
                for name, value in one.attributes.items()
                if name in other.attributes and other.attributes[name] != value
            ]
            if swapped:
                named = [name for name, v in one.attributes.items() if other.attributes.get(name, v) != v]
                return f"the same thing with another {' and '.join(named)}: {', '.join(swapped)}"
            return f"also a kind of {one.kind}, described in another way"
        if self._ontology.is_above(other.kind, one.kind):
            return f"a special kind of {other.kind}, which is in the image"
        common = self._common(one.kind, other.kind)
        if one.kind in self._ontology.siblings(other.kind) or other.kind in self._ontology.siblings(one.kind):
            if common:
                return f"stands beside {other.kind}: both are kinds of {common}"
            return f"is easily taken for {other.kind}"
        if common:
            return f"related to {other.kind} from afar: both are kinds of {common}"
        return f"the model confuses it with {confused_with}"

    def _attributes(self, prefix: str) -> tuple[list[str], str]:
        """The values of attributes that the prefix begins with, and what follows them."""
        words = prefix.split()
        given: list[str] = []
        while len(words) > 1 and words[0] in self._values:
            given.append(words.pop(0))
        return given, " ".join(words)

    def _common(self, one: str, other: str) -> str:
        """The nearest kind above both; empty where there is none."""
        above = list(self._above(one))
        beyond = set(self._above(other))
        return next((kind for kind in above if kind in beyond), "")

    def _above(self, kind: str) -> Iterator[str]:
        """Everything above the kind, nearest first."""
        level: Sequence[str] = [kind]
        seen: set[str] = set()
        while level:
            level = [
                parent
                for name in level
                if name in self._ontology.kinds
                for parent in self._ontology.kinds[name].hypernyms
                if parent not in seen and not seen.add(parent)  # type: ignore[func-returns-value]
            ]
            yield from level

    @cached_property
    def _names(self) -> list[str]:
        kinds = self._ontology.kinds
        synonyms = (synonym for kind in kinds.values() for synonym in kind.synonyms)
        return sorted({*kinds, *synonyms})

    @cached_property
    def _values(self) -> frozenset[str]:
        return frozenset(value for values in self._ontology.attributes.values() for value in values)

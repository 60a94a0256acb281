"""The ontology: kinds of things with what is above and beside them, and attributes that phrases can be told
apart by.

A phrase is read as (attributes, other words, kind, rest): `yellow striped school bus` is colour yellow,
pattern striped, other word `school`, kind `bus`. The kind is the longest run of words ending at the head
noun that is a kind or a synonym of one; a head that is neither is a kind of its own, with nothing above or
beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput
from services.core.phrases import split


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing: what it is a kind of, what stands beside it (nearest first), its other names."""

    hypernyms: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A phrase as the ontology reads it. `attributes` maps the attribute to its value, in the phrase's
    order.
    """

    attributes: Mapping[str, str]
    others: frozenset[str]
    kind: str
    rest: tuple[str, ...]


@dataclass(frozen=True)
class Ontology:
    """`kinds` by name; `attributes[attribute][value]`: the values that it is easily confused with, nearest
    first.
    """

    kinds: Mapping[str, Kind]
    attributes: Mapping[str, Mapping[str, tuple[str, ...]]]
    digest: str = ""
    _readings: dict[str, Reading] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Ontology:
        """The ontology of a JSON file; without a path the one that comes with Tercet.

        Raises `InvalidInput`, naming the file and the fault, when the file does not hold an ontology.
        """
        where = str(path) if path else "services/core/ontology.json"
        try:
            if path:
                content = Path(path).read_bytes()
            else:
                content = resources.files("services.core").joinpath("ontology.json").read_bytes()
            raw = json.loads(content)
            return cls._parsed(raw, digest=hashlib.sha256(content).hexdigest())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"the ontology {where} cannot be used: {error!r}") from error

    @classmethod
    def _parsed(cls, raw: Mapping[str, Any], digest: str) -> Ontology:
        kinds = {
            name: Kind(**{key: _names(entry.get(key, ())) for key in ("hypernyms", "siblings", "synonyms")})
            for name, entry in raw["kinds"].items()
        }
        attributes = {
            name: {value: _names(near) for value, near in values.items()}
            for name, values in raw["attributes"].items()
        }
        found = cls(kinds, attributes, digest)
        for name in kinds:
            if name in found._above(name):
                raise InvalidInput(f"the ontology has {name!r} above itself")
        return found

    def read(self, phrase: str) -> Reading:
        """The reading of a normalised phrase."""
        cached = self._readings.get(phrase)
        if cached is None:
            cached = self._read(phrase)
            if len(self._readings) < 10_000:
                self._readings[phrase] = cached
        return cached

    def siblings(self, kind: str) -> tuple[str, ...]:
        """Kinds beside this one, nearest first: those named as such, then those under the same hypernym."""
        return self._siblings.get(self._canonical.get(kind, kind), ())

    def cousins(self, kind: str) -> tuple[str, ...]:
        """Kinds under the same hypernym's hypernym that are not siblings."""
        return self._cousins.get(self._canonical.get(kind, kind), ())

    def swaps(self, phrase: str) -> list[str]:
        """The phrase with one attribute changed for another value, nearest values first: `red bus`, `orange
        bus`.
        """
        found: list[tuple[int, str]] = []
        for at, word in enumerate(words := phrase.split()):
            attribute = self._attribute_of.get(word)
            if attribute is None or self.read(phrase).attributes.get(attribute) != word:
                continue
            for rank, value in enumerate(self._near(attribute, word)):
                found.append((rank, " ".join([*words[:at], value, *words[at + 1 :]])))
        return list(dict.fromkeys(text for _, text in sorted(found, key=lambda item: item[0])))

    def with_kind(self, phrase: str, kind: str) -> str:
        """The phrase with its kind changed: `yellow car` of (`yellow bus`, `car`)."""
        modifiers, named, rest = self._cut(phrase)
        return " ".join([*modifiers, kind, *rest]) if named else phrase

    def is_synonym(self, first: str, second: str) -> bool:
        """Whether the phrases mean the same."""
        return self.is_ancestor(first, second) and self.is_ancestor(second, first)

    def is_ancestor(self, general: str, specific: str) -> bool:
        """Whether all that is `specific` is also `general`: `bus` and `yellow vehicle` of `yellow bus`;
        itself too.

        What follows the head noun only narrows it: `person` is above `person in red shirt`.
        """
        above, below = self.read(general), self.read(specific)
        return (
            (above.kind == below.kind or above.kind in self._above(below.kind))
            and above.attributes.items() <= below.attributes.items()
            and above.others <= below.others
            and above.rest in ((), below.rest)
        )

    def excludes(self, first: str, second: str) -> bool:
        """Whether one thing cannot be both: the same kind with different values, or kinds beside each
        other.
        """
        a, b = self.read(first), self.read(second)
        related = a.kind == b.kind or a.kind in self._above(b.kind) or b.kind in self._above(a.kind)
        if related:
            return any(b.attributes.get(name, value) != value for name, value in a.attributes.items())
        return (
            b.kind in self.siblings(a.kind)
            or a.kind in self.siblings(b.kind)
            or b.kind in self.cousins(a.kind)
        )

    def _read(self, phrase: str) -> Reading:
        modifiers, kind, rest = self._cut(phrase)
        attributes: dict[str, str] = {}
        others: set[str] = set()
        for word in modifiers:
            attribute = self._attribute_of.get(word)
            if attribute is None or attribute in attributes:  # `black and white`: the first is the attribute
                others.add(word)
            else:
                attributes[attribute] = word
        return Reading(attributes, frozenset(others), self._canonical.get(kind, kind), rest)

    def _cut(self, phrase: str) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
        """(modifiers, words that name the kind, rest)."""
        parts = split(phrase)
        words = (*parts.modifiers, parts.head)
        for start in range(len(words)):
            if (name := " ".join(words[start:])) in self._canonical:
                return words[:start], name, parts.rest
        return parts.modifiers, parts.head, parts.rest

    def _near(self, attribute: str, value: str) -> list[str]:
        values = self.attributes[attribute]
        return [v for v in dict.fromkeys((*values[value], *values)) if v != value]

    @cached_property
    def _siblings(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for kind in dict.fromkeys(self._canonical.values()):
            entry = self.kinds.get(kind, Kind())
            beside = (k for parent in entry.hypernyms for k in self._below.get(parent, ()))
            found[kind] = self._unrelated(kind, (*entry.siblings, *beside))
        return found

    @cached_property
    def _cousins(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for kind, entry in self.kinds.items():
            aunts = (a for parent in entry.hypernyms for a in self._siblings[parent])
            nieces = (k for aunt in aunts for k in self._below.get(aunt, ()))
            siblings = set(self._siblings[kind])
            found[kind] = tuple(k for k in self._unrelated(kind, nieces) if k not in siblings)
        return found

    def _unrelated(self, kind: str, kinds: Iterable[str]) -> tuple[str, ...]:
        """The kinds without repeats, without the kind itself and what is above or below it."""
        return tuple(
            k
            for k in dict.fromkeys(kinds)
            if k != kind and k not in self._above(kind) and kind not in self._above(k)
        )

    def is_above(self, general: str, specific: str) -> bool:
        """Whether the first kind is a hypernym of the second, however far above."""
        return general in self._above(specific)

    def _above(self, kind: str) -> frozenset[str]:
        """Everything that the kind is a kind of."""
        return self._ancestors.get(kind, frozenset())

    @cached_property
    def _ancestors(self) -> dict[str, frozenset[str]]:
        ancestors: dict[str, frozenset[str]] = {}
        for kind, entry in self.kinds.items():
            found: set[str] = set()
            waiting = list(entry.hypernyms)
            while waiting:
                name = waiting.pop()
                if name not in found:
                    found.add(name)
                    waiting += self.kinds.get(name, Kind()).hypernyms
            ancestors[kind] = frozenset(found)
        return ancestors

    @cached_property
    def _canonical(self) -> dict[str, str]:
        """Every name of a kind, synonyms included, and the kind that it names."""
        names = {synonym: name for name, kind in self.kinds.items() for synonym in kind.synonyms}
        hypernyms = {above: above for kind in self.kinds.values() for above in kind.hypernyms}
        return names | hypernyms | {name: name for name in self.kinds}

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        """The kinds right below each kind."""
        below: dict[str, list[str]] = {}
        for name, kind in self.kinds.items():
            for parent in kind.hypernyms:
                below.setdefault(parent, []).append(name)
        return below

    @cached_property
    def _attribute_of(self) -> dict[str, str]:
        return {value: name for name, values in self.attributes.items() for value in values}


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"a list of names is needed, not {value!r}")
    return tuple(value)

"""Measures scenes part by part and keeps what was found, so that an interrupted run goes on.

Parts are worked in chunks of scenes. A chunk's findings are a JSON file whose folder is named by all that
they depend on: the part, its version, the models' versions and the settings. New weights are measured
anew, and a run over more scenes takes over what a shorter one found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.quality import parts
from services.quality.parts import Found
from services.quality.pipeline import Pipeline
from services.quality.scenes import KnownScene, known_scene
from services.quality.serving import Costs, Models

CHUNK = 50
AT_ONCE = 12
"""Scenes worked at a time: calls that meet are batched by the models."""
VERSION = 1
"""Rises when a part finds something else in the same scene."""


@dataclass(frozen=True)
class Part:
    """One part: its models, and what it finds in a scene. `depends` is what else the findings depend on."""

    name: str
    models: tuple[str, ...]
    find: Callable[[KnownScene], Found]
    depends: str = ""


@dataclass
class Findings:
    """Of the scenes of one seed, in order; and the processor seconds that they took, by name."""

    scenes: list[Found] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def all_parts(models: Models) -> dict[str, Part]:
    """Every part by name."""
    pipeline = Pipeline(models)
    everything = tuple(models.versions)
    listed = (
        Part("sam", ("sam",), lambda known: parts.sam(models, known)),
        Part("grounding", ("concept_grounder", "sam"), lambda known: parts.grounding(models, known)),
        Part("verifying", ("verifier",), lambda known: parts.verifying(models, known)),
        Part(
            "pipeline",
            everything,
            lambda known: pipeline.measured(known),
            Pipeline.settings(),
        ),
    )
    return {part.name: part for part in listed}


class Measuring:
    """Works parts of a folder `work`, with what is found there already."""

    def __init__(
        self, parts: Mapping[str, Part], versions: Mapping[str, str], costs: Costs, work: Path
    ) -> None:
        self.parts = parts
        self._versions = versions
        self._costs = costs
        self._work = work

    def findings(self, name: str, seed: int, scenes: int) -> Findings | None:
        """What is known of the first `scenes` scenes; None where some are missing."""
        found = Findings()
        for start in range(0, scenes, CHUNK):
            path = self._path(name, seed, start)
            if not path.exists():
                return None
            told = json.loads(path.read_text("utf-8"))
            wanted = min(CHUNK, scenes - start)
            if len(told["scenes"]) < wanted:
                return None
            found.scenes += told["scenes"][:wanted]
            share = wanted / len(told["scenes"])
            for of, seconds in told["seconds"].items():
                found.seconds[of] = found.seconds.get(of, 0.0) + share * seconds
        return found

    def measure(self, name: str, seed: int, scenes: int) -> Iterator[int]:
        """Measure what is missing of the first `scenes` scenes; yields how many scenes each step brought."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, scenes, CHUNK):
                path, wanted = self._path(name, seed, start), min(CHUNK, scenes - start)
                if not (path.exists() and len(json.loads(path.read_text("utf-8"))["scenes"]) >= wanted):
                    self._costs.taken()
                    found = list(pool.map(self._one(name, seed), range(start, start + wanted)))
                    _write(path, {"scenes": found, "seconds": self._costs.taken()})
                yield wanted

    def _one(self, name: str, seed: int) -> Callable[[int], Found]:
        find = self.parts[name].find
        return lambda number: find(known_scene(seed, number))

    def _path(self, name: str, seed: int, start: int) -> Path:
        part = self.parts[name]
        depends = f"{VERSION} {[self._versions[model] for model in part.models]} {part.depends}"
        digest = hashlib.sha256(depends.encode()).hexdigest()[:12]
        return self._work / f"{name}-{digest}" / f"seed-{seed}-{start:05d}.json"


def _write(path: Path, told: dict[str, Any]) -> None:
    """All or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(told, separators=(",", ":")), "utf-8")
    fresh.replace(path)

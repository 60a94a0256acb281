"""The sweep's biases: fitted on scenes whose truth is known, kept in the proposer's sweep file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from services.core.ontology import Ontology
from services.kit.inference.ports import strings
from services.proposer import domain
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import Sweep, Swept, log_odds, presences
from services.quality.scenes import KnownScene
from services.quality.serving import Models, indices
from tercet.v1 import concepts_pb2

LARGEST = 12.0
"""No bias is larger than this, either way."""


@dataclass(frozen=True)
class Witnessed:
    """One scene: the proposer's scores, the grounder's presence of all phrases asked for, and which hold."""

    written: Mapping[str, float]
    presence: Mapping[str, float]
    there: frozenset[str]


def witness(models: Models, known: KnownScene, sweep: Sweep) -> Witnessed:
    """What both models say of a scene, as the proposer's service asks them."""
    image = strings([known.content])
    answer = models.ask(
        "concept_proposer", {"image": image, "max_phrases": indices([ProposerSettings().max_phrases])}
    )
    proposals = domain.model_phrases(answer, concepts_pb2.Provenance())
    written = {proposal.phrase: proposal.score for proposal in proposals}
    asked = sweep.asked(written)
    question = {"image": image, "phrases": strings(asked), "threshold": np.ones(1, np.float32)}
    told = models.ask("concept_grounder", question)
    there = frozenset(phrase for phrase in asked if known.members(phrase))
    return Witnessed(written, presences(asked, told["presence"].tolist()), there)


def fit(sweep: Sweep, scenes: Sequence[Witnessed], ontology: Ontology) -> Sweep:
    """The sweep with the biases of greatest likelihood: `written_bias`, then each sweep's in turn, on the
    phrases that are still in question when its turn comes.
    """
    odds = [
        (log_odds(score) + log_odds(one.presence[phrase]), phrase in one.there)
        for one in scenes
        for phrase, score in one.written.items()
    ]
    written_bias = best_bias(odds)
    done: list[Swept] = []
    for swept in sweep.sweeps:
        # Made anew, not copied: a copy would keep the phrases that it has worked out.
        before = Sweep(least=sweep.least, written_bias=written_bias, sweeps=tuple(done))
        odds = [pair for one in scenes for pair in _open(one, swept, before, ontology)]
        done.append(Swept(words=swept.words, bias=best_bias(odds)))
    return Sweep(made_for=sweep.made_for, least=sweep.least, written_bias=written_bias, sweeps=tuple(done))


def _open(one: Witnessed, swept: Swept, before: Sweep, ontology: Ontology) -> Iterator[tuple[float, bool]]:
    """The phrases of a sweep that are neither written, nor swept before, nor above what is found by then."""
    found = before.join(one.written, one.presence, ontology)
    settled = {*one.written, *before.phrases}
    for phrase in swept.phrases:
        if phrase not in settled and not any(ontology.is_ancestor(phrase, known) for known in found):
            yield log_odds(one.presence[phrase]), phrase in one.there


def best_bias(witnessed: Sequence[tuple[float, bool]]) -> float:
    """The bias b of greatest likelihood, where sigmoid(odds + b) is the chance of each (log-odds, whether it
    holds); 0 without any.
    """
    if not witnessed:
        return 0.0
    odds = np.array([odd for odd, _ in witnessed])
    sign = np.array([1.0 if holds else -1.0 for _, holds in witnessed])
    found = minimize_scalar(
        lambda bias: float(np.logaddexp(0, -sign * (odds + bias)).mean()),
        bounds=(-LARGEST, LARGEST),
        method="bounded",
    )
    return round(float(found.x), 3)


def write(sweep: Sweep, path: Path) -> None:
    """Write the file that `Sweep.load` reads."""
    text = json.dumps(sweep.model_dump(mode="json"), indent=1)
    # A list of words is easier to read on one line.
    text = re.sub(r"\[\s+(\"[^\[\]{}]*\")\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(text + "\n", "utf-8")

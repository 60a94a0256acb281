"""The sweep: what the proposer writes is joined with what the grounder finds of a list of known phrases.

A model that writes phrases forgets some; a grounder that is asked for a phrase seldom overlooks it, and
knows no phrase that it is not asked for. Each is a witness of a phrase's presence, and their log-odds are
added up, as in naive Bayes:

    log-odds(phrase) = log-odds of the grounder's presence
                     + log-odds of the writer's score + written_bias    where the proposer wrote it
                     + the sweep's bias                                 where it did not

Both slopes are 1: fitted freely to the bundled models of then, on 200 scenes for calibration, that of the
grounder came out as 1.00 and that of the writer as .92.
The biases are fitted by `python -m services.trainer calibrate-sweep`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.core.phrases import normalise
from tercet.v1 import concepts_pb2

MOST_PHRASES = 900
"""The grounder takes 1,024 at once; the proposer writes up to 100 more."""
SURE = 0.001
"""Scores are taken to be at least so far from 0 and 1."""

Word = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Swept(BaseModel):
    """Phrases to ask for in every image: one word of each list, in their order. `bias` is what counts against
    (below 0) or for one that the proposer did not write.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: Annotated[tuple[Annotated[tuple[Word, ...], Field(min_length=1)], ...], Field(min_length=1)]
    bias: float = 0.0

    @cached_property
    def phrases(self) -> tuple[str, ...]:
        """Normalised, each once. Raises `InvalidInput` for what is no noun phrase."""
        return tuple(dict.fromkeys(normalise(" ".join(words)) for words in product(*self.words)))


class Sweep(BaseModel):
    """What a sweep file says. `made_for`: the registry names of the models for which it was fitted, by
    served model; with others it is not used. `least`: the probability from which on a phrase is proposed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_for: Mapping[str, str] = {}
    least: float = Field(0.5, gt=0, lt=1)
    written_bias: float = 0.0
    sweeps: tuple[Swept, ...] = ()

    @model_validator(mode="after")
    def _fits_a_request(self) -> Sweep:
        count = len(self.phrases)
        if count > MOST_PHRASES:
            raise ValueError(f"its word lists make {count} phrases; at most {MOST_PHRASES} are swept")
        return self

    @classmethod
    def load(cls, path: Path | None) -> Sweep:
        """The sweep of a JSON file; without a path the bundled models'. Raises `InvalidInput`."""
        try:
            text = (resources.files(__package__).joinpath("sweep.json") if path is None else path).read_text(
                "utf-8"
            )
            return cls.model_validate_json(text)
        except (OSError, UnicodeDecodeError, ValidationError, InvalidInput) as fault:
            raise InvalidInput(
                f"the sweep file {path} cannot be used: {fault}. It is JSON like "
                '{"least": 0.5, "sweeps": [{"words": [["red", "blue"], ["forklift", "pallet"]]}]}'
            ) from fault

    @cached_property
    def phrases(self) -> tuple[str, ...]:
        """All phrases to ask for, each once."""
        return tuple(dict.fromkeys(phrase for swept in self.sweeps for phrase in swept.phrases))

    def asked(self, written: Iterable[str]) -> list[str]:
        """The phrases to ask the grounder for: those written, then the list's, each once."""
        return list(dict.fromkeys([*written, *self.phrases]))

    def fits(self, model: concepts_pb2.ModelVersion) -> bool:
        """Whether it was made for this model, or says of none that it was."""
        wanted = self.made_for.get(model.name)
        return wanted is None or model.weights.startswith(f"{wanted}-")

    def join(
        self, written: Mapping[str, float], presence: Mapping[str, float], ontology: Ontology
    ) -> dict[str, float]:
        """Probability of each phrase that is worth proposing, best first. `written` are the proposer's
        scores, `presence` the grounder's of those and of all `phrases`.

        A phrase that nobody wrote is left out where a more specific one is proposed: with `yellow bus`, `bus`
        is no news.
        """
        found: dict[str, float] = {}
        for phrase, odds in self._odds(written, presence):
            chance = float(1 / (1 + np.exp(-odds)))
            if chance >= self.least and (
                phrase in written or not any(ontology.is_ancestor(phrase, known) for known in found)
            ):
                found[phrase] = chance
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _odds(
        self, written: Mapping[str, float], presence: Mapping[str, float]
    ) -> Iterator[tuple[str, float]]:
        """Each phrase once with its log-odds: those written first, then sweep by sweep."""
        for phrase, score in written.items():
            yield phrase, log_odds(score) + self.written_bias + log_odds(presence[phrase])
        seen = set(written)
        for swept in self.sweeps:
            for phrase in swept.phrases:
                if phrase not in seen:
                    seen.add(phrase)
                    yield phrase, swept.bias + log_odds(presence[phrase])


def log_odds(share: float) -> float:
    """log(p / (1 - p)) of a probability, no surer than `SURE`."""
    kept = min(max(share, SURE), 1 - SURE)
    return float(np.log(kept / (1 - kept)))


def presences(asked: Sequence[str], answer: Sequence[float]) -> dict[str, float]:
    """The grounder's presence of each phrase asked for; NaN is 0."""
    return dict(zip(asked, np.nan_to_num(np.asarray(answer)).tolist(), strict=True))

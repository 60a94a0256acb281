"""The sweep's biases are fitted on scenes whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.core.ontology import Ontology
from services.proposer.sweep import Sweep, Swept
from services.quality.sweep import Witnessed, best_bias, fit, write

WORDS = Ontology.load()


def test_the_bias_is_that_of_the_draw() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 4000)
    holds = rng.random(4000) < 1 / (1 + np.exp(-(odds - 1.5)))
    assert best_bias(list(zip(odds.tolist(), holds.tolist(), strict=True))) == pytest.approx(-1.5, abs=0.15)
    assert best_bias([]) == 0.0
    assert best_bias([(0.0, True)]) > 5


def test_each_sweep_is_fitted_on_what_is_still_in_question() -> None:
    swept = Sweep(
        made_for={"concept_proposer": "llava-tiny"},
        least=0.4,
        sweeps=(Swept(words=(("red", "blue"), ("bus",))), Swept(words=(("bus", "cup"),))),
    )
    bus = Witnessed(
        {"red bus": 0.9},
        {"red bus": 0.9, "blue bus": 0.5, "bus": 0.5, "cup": 0.5},
        frozenset({"red bus", "bus"}),
    )
    cup = Witnessed({}, {"red bus": 0.01, "blue bus": 0.5, "bus": 0.5, "cup": 0.5}, frozenset({"cup"}))
    fitted = fit(swept, [bus] * 30 + [cup] * 10, WORDS)
    assert (fitted.made_for, fitted.least) == (swept.made_for, swept.least)
    assert [part.words for part in fitted.sweeps] == [part.words for part in swept.sweeps]
    # Every written phrase held; no blue bus did; of the kinds that no red bus settles, a cup did in 10 of 50.
    assert fitted.written_bias > 3
    assert fitted.sweeps[0].bias < -3
    assert fitted.sweeps[1].bias == pytest.approx(np.log(10 / 40), abs=0.05)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    write(Sweep.load(None), path)
    assert Sweep.load(path) == Sweep.load(None)
    assert len(path.read_text("utf-8").splitlines()) < 40

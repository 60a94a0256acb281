"""`tercet evaluate`: its table, its JSON, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.cli.evaluate import SHOWN, SHOWN_PER_PHRASE
from services.core.evaluation import MEANINGS, PairSet, dumps
from tests.support.annotated_pairs import pair, pairs, rectangle

A, B = rectangle(0, 0, 2, 5), rectangle(4, 0, 1, 8)
TRUTH = pairs(pair(1, A), pair(2), pair(3, B, phrase="red cat"), pair(4, phrase="red cat", exhaustive=False))
PREDICTION = pairs(pair(1, A), pair(2), pair(3, phrase="red cat"))

Write = Callable[[str, PairSet], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: PairSet) -> Path:
        path = tmp_path / name
        path.write_text(dumps(content), "utf-8")
        return path

    return to_file


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_a_readable_table(write: Write) -> None:
    result = run(write("p.json", PREDICTION), write("g.json", TRUTH), "--resamples", 50)
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any("3 pairs: 2 present, 1 absent; 3 images, 2 true masks" in line for line in lines)
    assert any(line.startswith("not counted") and "1 pairs" in line for line in lines)
    (mcc,) = (line for line in lines if line.startswith("IL_MCC"))
    assert mcc.split()[:2] == ["IL_MCC", "0.500"]
    assert mcc.endswith(MEANINGS["IL_MCC"])
    (f1,) = (line for line in lines if line.startswith("pmF1 "))
    assert f1.split()[1] == "0.667"
    assert "95% interval" in result.stdout
    assert "red cat" not in result.stdout


def test_phrases_in_lines_of_their_own(write: Write) -> None:
    result = run(write("p.json", PREDICTION), write("g.json", TRUTH), "--per-phrase", "--resamples", 0)
    bus, cat = (line.split() for line in result.stdout.splitlines() if line.strip()[:3] in ("bus", "red"))
    assert bus == ["bus", "2", "1", "1", "1.000", "1.000", "1.000", "1.000", "1.000", "1.000"]
    assert cat == ["red", "cat", "1", "1", "1", "0.000", "-", "0.000", "0.000", "-", "0.000"]


def test_json_holds_everything_and_is_alone_on_stdout(write: Write) -> None:
    arguments = (write("p.json", PREDICTION), write("g.json", TRUTH), "--json", "--per-phrase", "--seed", 3)
    result = run(*arguments, "--threshold", 0.25, "--confidence", 0.9, "--resamples", 20)
    body = json.loads(result.stdout)
    assert body["settings"] == {"threshold": 0.25, "resamples": 20, "confidence": 0.9, "seed": 3}
    assert body["overall"]["figures"]["IL_MCC"]["value"] == pytest.approx(0.5)
    assert list(body["per_phrase"]) == ["bus", "red cat"]
    assert (body["not_exhaustive"], body["annotators"]) == (1, 1)
    shown = {name for group in SHOWN for name in group} | set(SHOWN_PER_PHRASE)
    assert shown <= set(body["overall"]["figures"])
    assert set(MEANINGS) <= set(body["overall"]["figures"])


def test_several_annotators(write: Write) -> None:
    blind = pairs(pair(1), pair(2), pair(3, phrase="red cat"), pair(4, phrase="red cat"), name="blind.json")
    gold, other = write("g.json", TRUTH), write("blind.json", blind)
    result = run(write("p.json", PREDICTION), gold, other, "--json", "--resamples", 0)
    body = json.loads(result.stdout)
    assert body["annotators"] == 2
    assert body["overall"]["figures"]["cgF1"]["value"] == 1.0
    table = run(write("p.json", PREDICTION), gold, other, "--resamples", 0)
    assert "2; for each pair the one that agrees best counts" in table.stdout


def test_wrong_input_is_one_line_and_an_exit_code(write: Write, tmp_path: Path) -> None:
    gold = write("g.json", TRUTH)
    torn = tmp_path / "torn.json"
    torn.write_text("{", "utf-8")
    refused = run(torn, gold)
    assert refused.exit_code == 6
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"error: {torn} is not JSON")
    assert refused.stderr.count("\n") == 1
    strangers = run(write("p.json", pairs(pair(8, A, phrase="dog"))), gold)
    assert strangers.exit_code == 6
    assert "do not match" in strangers.stderr
    assert run(tmp_path / "nowhere.json", gold).exit_code == 2
    assert run(gold).exit_code == 2

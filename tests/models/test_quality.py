"""`python -m services.trainer quality` and `calibrate-score` on the served models, over few scenes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.networks.settings import REPOSITORY
from services.networks.verifier.score import read_tables


def trainer(folder: Path, weights: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TERCET_NETWORKS_VERIFIER_WEIGHTS": str(weights), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "services.trainer", *arguments, "--work", str(folder / "work")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the verifier's weights, whose score is not calibrated."""
    folder = tmp_path / "verifier"
    shutil.copytree(REPOSITORY / "verifier" / "1", folder, ignore=shutil.ignore_patterns("__pycache__"))
    said = json.loads((folder / "tercet.json").read_text("utf-8"))
    said.pop("score", None)
    (folder / "tercet.json").write_text(json.dumps(said), "utf-8")
    return folder


def test_few_scenes_give_the_whole_table(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "docs"
    asked = ("quality", "--scenes", "4", "--seeds", "2", "--calibration", "4", "--out", str(out))
    done = trainer(tmp_path, weights, *asked)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads((out / "quality.json").read_text("utf-8"))
    assert told["score_calibrated"] is False
    names = {(one["group"], one["name"]) for one in told["figures"]}
    goals = [one for one in told["figures"] if one["goal"] is not None]
    assert len(goals) == 19
    assert ("sam", "mIoU from a box") in names
    by_name = {one["name"]: one for one in told["figures"]}
    box = by_name["mIoU from a box"]
    assert len(box["seeds"]) == 2
    assert 0.3 < box["value"] <= 1
    assert box["interval"][0] <= box["value"] <= box["interval"][1]
    shares = [one["value"] for one in told["figures"] if one["group"] == "stage 3, all pairs"][:3]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert set(told["processor_seconds_an_image"]) >= {
        "sam",
        "concept_grounder",
        "concept_proposer",
        "verifier",
    }
    page = (out / "quality.md").read_text("utf-8")
    assert all(one["name"] in page for one in told["figures"])
    assert all((out / "quality" / name).stat().st_size > 1000 for name in ("reliability.png", "scores.png"))

    findings = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.json")}
    again = trainer(tmp_path, weights, *asked)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.json")} == findings


def test_the_score_is_calibrated_beside_the_weights(tmp_path: Path, weights: Path) -> None:
    assert read_tables(weights) is None
    too_few = trainer(tmp_path, weights, "calibrate-score", "--scenes", "2")
    assert too_few.returncode == 2
    assert "too few" in too_few.stderr
    assert read_tables(weights) is None
    done = trainer(tmp_path, weights, "calibrate-score", "--scenes", "40")
    assert done.returncode == 0, done.stderr[-2000:]
    tables = read_tables(weights)
    assert tables is not None
    assert len(tables.positive) >= 2
    assert json.loads((weights / "tercet.json").read_text("utf-8"))["temperatures"]

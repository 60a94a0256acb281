"""Simulated annotators at a real gateway: the whole engine in one process, with the bundled models.

Nothing here depends on how good the models are: people make good what is wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.engine import Engine, embedded_engine
from gateway.client import Client
from gateway.simulate.mistakes import PERFECT

IMAGES = 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    with embedded_engine(folder, folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulation")


@pytest.fixture(scope="module")
def report(engine: Engine, out: Path) -> Mapping[str, Any]:
    """Three people who never err, on all three stages."""
    key = engine.settings.key()
    assert key is not None
    nobody_errs = out / "nobody-errs.json"
    nobody_errs.write_text(PERFECT.model_dump_json())
    command = [sys.executable, "-m", "gateway.cli", "simulate", "--images", str(IMAGES), "--out", str(out)]
    command += ["--difficulty", "easy", "--error-rates", str(nobody_errs), "--timeout", "200", "--json"]
    environment = {**os.environ, "TERCET_URL": engine.settings.url, "TERCET_API_KEY": key}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("stage", ["1", "2", "3"])
def test_every_task_is_decided_once_and_its_seconds_are_the_servers(
    engine: Engine, report: Mapping[str, Any], stage: str
) -> None:
    played = report["stages"][stage]
    counts, server = played["counts"], played["server"]
    assert counts["decided_twice"] == 0
    assert counts["images_failed"] == 0
    with Client(engine.settings) as client:
        queues = client.queues(job_id=played["job_id"]).queues
        assert client.job(played["job_id"]).status == "complete"
    assert sum(queue.waiting + queue.leased for queue in queues) == 0
    assert {queue.type: queue.decided for queue in queues if queue.decided} == {
        kind: sum(what.values()) for kind, what in counts["decisions_by_type"].items()
    }
    assert server["decisions"] == counts["decisions"]
    assert server["active_seconds"] == pytest.approx(counts["seconds"], abs=0.01)
    spent = sum(report["costs"][action]["seconds"] * times for action, times in counts["actions"].items())
    assert counts["seconds"] == pytest.approx(spent)


def test_people_who_never_err_leave_nothing_wrong_in_stage_1(report: Mapping[str, Any]) -> None:
    played = report["stages"]["1"]
    assert played["counts"]["decisions_by_type"]["annotate"] == {"edit": IMAGES}
    assert played["quality"]["true_masks"] == report["simulated"]["objects"]
    assert played["figures"]["precision@0.5"] == pytest.approx(1)
    assert played["figures"]["recall@0.5"] == pytest.approx(1)
    assert played["figures"]["objects_covered"] == pytest.approx(1)
    # A mask below the rule's IoU is taken only where nothing but its outline is off, by a pixel.
    assert played["figures"]["mask_IoU"] > report["rules"]["repair_iou"]


def test_what_people_saw_in_stages_2_and_3_is_right_too(report: Mapping[str, Any]) -> None:
    second, third = report["stages"]["2"], report["stages"]["3"]
    assert second["figures"]["precision@0.5"] == pytest.approx(1)
    assert second["quality"]["wrong_negatives"] == 0
    assert second["counts"]["decisions"] > 0
    assert third["figures"]["unseen_share"] is None or 0 <= third["figures"]["unseen_share"] <= 1


def test_the_report_is_written_and_the_keys_are_gone(
    engine: Engine, report: Mapping[str, Any], out: Path
) -> None:
    assert json.loads((out / "report.json").read_text("utf-8")) == report
    assert "| claimed |" in (out / "report.md").read_text("utf-8")
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    for stage in ("1", "2", "3"):
        assert json.loads((out / f"stage-{stage}.saco.json").read_bytes())["images"]
    with Client(engine.settings) as client:
        names = [key.name for key in client.keys()]  # noqa: SIM118 - a call of the API
    assert not [name for name in names if name.startswith("simulated")]

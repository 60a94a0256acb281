"""The benchmark's own arithmetic: what it sends, what it calls again, how its tables come about."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from services.core.errors import InvalidInput
from services.kit.inference.ports import Answer, Tensors, strings
from tercet.v1 import concepts_pb2
from tests.bench import machine, pipeline, report
from tests.bench.calls import Bare, RecordingInference, make_again
from tests.bench.machine import Busy, Memory, Start
from tests.bench.pictures import in_other_bytes, scenes
from tests.bench.pipeline import Pass, Worked
from tests.bench.report import Results


class Listening:
    """An `Inference` that notes what it is asked; `refused` is a model that refuses."""

    def __init__(self, refused: str = "") -> None:
        self.asked: list[tuple[str, bytes, dict[str, list[int]]]] = []
        self._refused = refused
        self._lock = threading.Lock()

    def infer(self, model: str, inputs: Tensors) -> Answer:
        if model == self._refused:
            raise InvalidInput("no")
        rest = {name: tensor.tolist() for name, tensor in inputs.items() if name != "image"}
        with self._lock:
            self.asked.append((model, inputs["image"][0], rest))
        return Answer({}, concepts_pb2.ModelVersion(name=model))

    def ready(self, model: str) -> bool:
        return True

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        return []

    def close(self) -> None:
        pass


def test_other_bytes_are_the_same_picture() -> None:
    (scene,) = scenes(1)
    renewed = [in_other_bytes(scene.content, label) for label in ("one", "two")]
    assert len({scene.content, *renewed}) == 3
    for content in renewed:
        with Image.open(io.BytesIO(content)) as ours, Image.open(io.BytesIO(scene.content)) as original:
            assert (ours.format, ours.mode) == ("PNG", "RGB")
            assert np.array_equal(np.asarray(ours), np.asarray(original))


def test_recorded_calls_are_made_again_in_order_with_the_new_bytes() -> None:
    recording = [RecordingInference(Listening()) for _ in range(2)]
    for image in (b"a", b"b"):
        recording[0].infer("proposer", {"image": strings([image])})
        for number in range(3):
            recording[1].infer("verifier", {"image": strings([image]), "number": np.array([number])})
    triton = Listening()
    bare = make_again(triton, [each.recorded for each in recording], {b"a": b"A", b"b": b"B"}, threads=2)
    assert (bare.images, dict(bare.calls)) == (2, {"proposer": 2, "verifier": 6})
    for image in (b"A", b"B"):
        mine = [(model, rest) for model, sent, rest in triton.asked if sent == image]
        assert mine == [("proposer", {}), *(("verifier", {"number": [number]}) for number in range(3))]
    assert len(triton.asked) == 8


def test_a_refused_call_is_told() -> None:
    recording = RecordingInference(Listening())
    recording.infer("sam", {"image": strings([b"a"])})
    with pytest.raises(InvalidInput):
        make_again(Listening(refused="sam"), [recording.recorded], {b"a": b"A"}, threads=1)


def test_shares_of_the_processors_sum_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    before = Busy(10.0, {"triton": 5.0, machine.BENCH: 1.0}, 100.0)
    after = Busy(20.0, {"triton": 13.0, machine.BENCH: 2.0}, 114.0)
    shares = machine.shares(before, after)
    assert shares == pytest.approx(
        {"triton": 0.4, machine.BENCH: 0.05, machine.OTHERS: 0.25, machine.IDLE: 0.3}
    )


def results() -> Results:
    """Two seconds an image bare, four in the pipeline, whose services take half a processor second more."""
    worked = Worked(batches=1, batch=4.0, commit=1.0, model=6.0)
    bare = {"triton": 0.5, "verifier-0": 0.0, machine.BENCH: 0.0, machine.OTHERS: 0.1, machine.IDLE: 0.4}
    piped = {"triton": 0.25, "verifier-0": 0.0625, machine.BENCH: 0.1, machine.OTHERS: 0.1, machine.IDLE: 0.4}
    made = Results(images=2, processor="a processor", cores=2, commit="abc", at="2026-01-01T00:00:00+00:00")
    made.bare = [Bare(2, 4.0, {"sam": 2})]
    made.bare_processors = [bare]
    made.passes = [
        Pass(
            job_id="j",
            images=2,
            submit=1.0,
            seconds=8.0,
            workers=dict.fromkeys(pipeline.GROUPS, worked),
            calls={"sam": 2},
            residence=dict.fromkeys(pipeline.STEPS, 5.0),
            last_result=7.0,
            processors=piped,
        )
    ]
    made.start = {"triton": Start(5.0, 4.0), "verifier-0": Start(2.0, 1.0)}
    made.idle = made.after = {"triton": Memory(2**30, 2**30), "verifier-0": Memory(2**27, 2**27)}
    made.alone = {"verifier": 3.0}
    return made


def test_ratio_by_time_and_by_processor() -> None:
    made = results()
    assert (made.bare_rate, made.pipeline_rate, made.ratio) == (0.5, 0.25, 0.5)
    assert made.bare_cost == pytest.approx(2.0)
    assert made.pipeline_cost == pytest.approx(2.5)
    assert made.disturbance == pytest.approx(0.1)


def test_an_images_time_is_split_without_a_rest() -> None:
    (steps,) = [table for table in report.tables(results()) if table.title.startswith("Where an image's")]
    for row in steps.rows:
        *parts, whole = [float(cell.rstrip("%")) for cell in row[2:]]
        assert sum(parts) == pytest.approx(whole, abs=0.3)
    assert sum(float(row[-1].rstrip("%")) for row in steps.rows) == pytest.approx(100, abs=0.3)


def test_terminal_and_markdown_hold_every_table() -> None:
    made = results()
    console = Console(record=True, width=200, file=io.StringIO())
    report.show(made, console)
    shown, written = console.export_text(), report.markdown(made)
    for table in report.tables(made):
        assert table.title in shown
        assert f"**{table.title}**" in written
        assert all(len(row) == len(table.headings) for row in table.rows)
        for row in table.rows:
            assert "| " + " | ".join(row) + " |" in written.splitlines()

"""The client, the command line and the demo against the whole engine in one process, real models included."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from deploy.demo.engine import Engine, embedded_engine, free_port
from gateway.client import AsyncClient, Client, JobOptions, mask_arrays
from gateway.schemas import FINAL_STATUSES, Job
from services.scenes.dataset import write_dataset
from tests.support.polling import eventually

SCENES = 4
WORK_SECONDS = 240.0


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(SCENES, tmp_path_factory.mktemp("scenes")) / "images"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    with embedded_engine(folder, folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def done(engine: Engine, scenes: Path) -> Job:
    """A job whose models are done; nearly every pair is accepted, so that there is something to see."""
    options = JobOptions.model_validate(
        {"thresholds": {"accept_above": 1e-6, "reject_below": 0}, "audit_rate": 0}
    )
    with Client(engine.settings) as client:
        sights = list(client.watch(client.submit(scenes, options).id, timeout=WORK_SECONDS))
    assert sights[0].status == "running"
    assert len(sights) > 1
    return sights[-1]


def test_every_image_has_its_annotations_masks_and_overlay(engine: Engine, done: Job, scenes: Path) -> None:
    assert done.status in FINAL_STATUSES
    sent = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in scenes.iterdir()}
    with Client(engine.settings) as client:
        images = {image.image_id: image for image in client.job_images(done.id, page_size=1)}
        assert {id_: image.name for id_, image in images.items()} == sent
        assert {image.state for image in images.values()} <= {"complete", "in_review"}
        masks = 0
        for id_ in images:
            found = client.annotations(id_, job_id=done.id)
            picture = client.image(id_)
            for pair in found.pairs:
                arrays = mask_arrays(pair)
                masks += len(arrays)
                for mask, array in zip(pair.masks, arrays, strict=True):
                    assert array.shape == (picture.height, picture.width)
                    assert array.sum() == mask.area
            with Image.open(io.BytesIO(client.overlay(id_, job_id=done.id))) as overlay:
                assert (overlay.format, overlay.size) == ("PNG", (picture.width, picture.height))
            assert hashlib.sha256(client.content(id_)).hexdigest() == id_  # scenes are upright RGB already
    assert done.accepted_positives + done.accepted_negatives > 0
    assert masks > 0


def test_an_export_is_the_same_twice(engine: Engine, done: Job, tmp_path: Path) -> None:
    with Client(engine.settings) as client:
        for file_format in ("saco", "coco"):
            export = client.create_export("saco" if file_format == "saco" else "coco", [done.id])
            first = client.download(export, tmp_path / "first.json").read_bytes()
            again = client.create_export(export.format, [done.id])
            assert again.id == export.id
            assert client.download(again.id, tmp_path / "again.json").read_bytes() == first
            assert hashlib.sha256(first).hexdigest() == export.sha256
            assert client.export_content(export) == first
            assert export.id in {each.id for each in client.exports()}


def test_the_asynchronous_client_follows_too(engine: Engine, scenes: Path) -> None:
    picture = min(scenes.iterdir())

    async def run() -> Job:
        async with AsyncClient(engine.settings) as client:
            job = await client.submit(picture)
            return await client.wait(job.id, timeout=WORK_SECONDS)

    job = asyncio.run(run())
    assert job.status in FINAL_STATUSES
    assert sum(job.counts.values()) == 1


def test_submit_and_watch_on_the_command_line(engine: Engine, scenes: Path) -> None:
    key = engine.settings.key()
    assert key is not None
    environment = {**os.environ, "TERCET_URL": engine.settings.url, "TERCET_API_KEY": key}

    def tercet(*arguments: str) -> str:
        command = [sys.executable, "-m", "gateway.cli", *arguments]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=WORK_SECONDS
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    job = json.loads(tercet("jobs", "submit", str(scenes), "--stage", "automatic", "--watch", "--json"))
    assert job["status"] in FINAL_STATUSES
    assert job["id"] in {each["id"] for each in json.loads(tercet("jobs", "list", "--json"))}
    assert len(json.loads(tercet("jobs", "images", job["id"], "--json"))) == SCENES
    groups = {each["group"] for each in json.loads(tercet("lag", "--json"))}
    assert {"proposer", "segmenter", "verifier", "mining", "dataset"} <= groups
    models = {each["name"] for each in json.loads(tercet("models", "list", "--json"))}
    assert {"sam", "concept_grounder", "concept_proposer", "verifier"} <= models


def test_a_cancelled_job_ends_its_watch(engine: Engine, scenes: Path) -> None:
    # Stage 1 waits for people in any case, so that there is something to cancel however fast the models are.
    with Client(engine.settings) as client:
        job = client.submit(scenes, JobOptions(stage="assisted_manual"))
        assert client.cancel(job.id).status == "cancelled"
        assert client.wait(job.id, timeout=WORK_SECONDS).status == "cancelled"


def test_a_watch_outlives_a_killed_engine(scenes: Path, tmp_path: Path) -> None:
    sights: list[Job] = []
    errors: list[Exception] = []
    port = free_port()
    state = tmp_path / "state"
    state.mkdir()

    def watch(client: Client, job_id: str) -> None:
        try:
            for sight in client.watch(job_id, timeout=WORK_SECONDS):
                sights.append(sight)
        except Exception as error:
            errors.append(error)

    with embedded_engine(state, tmp_path / "log", port=port) as first:
        client = Client(first.settings)
        job = client.submit(scenes)
        watching = threading.Thread(target=watch, args=(client, job.id), daemon=True)
        watching.start()
        # Only a gateway that it has met is waited for.
        assert eventually(lambda: sights and client.job(job.id).images == SCENES)
        first.process.kill()
        first.process.wait()
    with client, embedded_engine(state, tmp_path / "log-again", port=port):
        watching.join(WORK_SECONDS)
    assert errors == []
    assert not watching.is_alive()
    assert sights[-1].status in FINAL_STATUSES
    assert sum(sights[-1].counts.values()) == SCENES


def test_the_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.demo", "--images", "3", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=2 * WORK_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(json.loads((tmp_path / "dataset.coco.json").read_text())["images"]) == 3
    assert "images" in json.loads((tmp_path / "dataset.saco.json").read_text())
    assert len(list((tmp_path / "overlays").iterdir())) == 3
    assert (tmp_path / "contact-sheet.png").exists()
    assert "done" in result.stdout

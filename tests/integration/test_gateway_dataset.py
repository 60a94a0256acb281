"""The gateway with the real dataset service: a job's life as its submitter sees it.

The models' part is played by writing what mining would write for each image: one accepted record of a run.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.core import masks
from services.dataset.bootstrap import build as build_dataset
from services.dataset.settings import DatasetSettings
from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, IMAGES_SUBMITTED, encode
from services.kit.running import start
from tercet.v1 import concepts_pb2, records_pb2
from tests.support.gateways import Running, adapters, png, running
from tests.support.polling import eventually


@dataclass
class Hooks:
    """A receiver of webhooks."""

    port: int = 0
    bodies: list[Any] = field(default_factory=list)


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    found = Hooks()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


async def resolve(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def served(tmp_path: Path, hooks: Hooks) -> Iterator[Running]:
    parts = adapters(tmp_path)
    address = f"unix:{tmp_path}/dataset.sock"
    settings = DatasetSettings()
    dataset = start(build_dataset(parts, settings), parts, address, settings=settings)
    try:
        assert dataset.wait_ready(30)
        with running(
            parts,
            resolve=resolve,
            dataset_address=address,
            fetch_allowed=("hooks.test",),
            fetch_ports=(hooks.port,),
            heartbeat_seconds=0.2,
        ) as found:
            work = [worker.run for worker in found.gateway.workers] + list(found.gateway.background)
            threads = [threading.Thread(target=run) for run in work]
            for thread in threads:
                thread.start()
            yield found
            found.gateway.stop()
            for thread in threads:
                thread.join(timeout=30)
    finally:
        dataset.stop(10)


def submit(served: Running, count: int = 3, **options: Any) -> dict[str, Any]:
    files = [("images", (f"{seed}.png", png(seed))) for seed in range(count)]
    answer = served.client.post("/v1/jobs", files=files, data={"job": json.dumps(options)})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def accept(served: Running, job_id: str, *, most: int = 1000) -> list[str]:
    """What mining writes when the models are done with a run; the image ids."""
    done: list[str] = []
    for record in served.adapters.bus.read([IMAGES_SUBMITTED]):
        submitted = records_pb2.ImageSubmitted.FromString(record.value)
        if submitted.run.job_id != job_id or len(done) == most:
            continue
        drawn = np.zeros((submitted.image.height, submitted.image.width), dtype=np.bool_)
        drawn[4:12, 6:20] = True
        mask = concepts_pb2.Mask(
            counts=masks.encode(drawn),
            height=submitted.image.height,
            width=submitted.image.width,
            box=concepts_pb2.Box(x=6, y=4, width=14, height=8),
            area=int(drawn.sum()),
            score=0.75,
            provenance=concepts_pb2.Provenance(
                model=concepts_pb2.ModelVersion(name="sam", weights="vit_t-00000000", version="1")
            ),
        )
        named = records_pb2.Image()
        named.CopyFrom(submitted.image)
        named.ClearField("content")
        accepted = records_pb2.AnnotationsAccepted(
            image=named,
            run=submitted.run,
            pairs=[
                concepts_pb2.Pair(
                    phrase="red ball",
                    polarity=concepts_pb2.POLARITY_POSITIVE,
                    masks=[mask],
                    score=0.95,
                    verdict=concepts_pb2.VERDICT_ACCEPT,
                    exhaustive=True,
                ),
                concepts_pb2.Pair(
                    phrase="blue ball",
                    polarity=concepts_pb2.POLARITY_NEGATIVE,
                    hard_negative=True,
                    confused_with="red ball",
                    score=0.97,
                    verdict=concepts_pb2.VERDICT_ACCEPT,
                ),
            ],
            tier=concepts_pb2.TIER_SYNTHETIC,
            accepted_at=submitted.run.submitted_at,
        )
        about = {"tenant": submitted.image.tenant, "job_id": job_id}
        served.adapters.bus.publish([encode(ANNOTATIONS_ACCEPTED, accepted, key=submitted.image.id, **about)])
        done.append(submitted.image.id)
    return done


def complete(served: Running, job_id: str) -> dict[str, Any]:
    def job() -> dict[str, Any] | None:
        found: dict[str, Any] = served.client.get(f"/v1/jobs/{job_id}").json()
        return found if found["status"] == "complete" else None

    found = eventually(job)
    assert found is not None
    return found


def test_a_job_from_submission_to_dataset(served: Running) -> None:
    job = submit(served, name="balls")
    # Known at once, whether the dataset service has read of it or not.
    first = served.client.get(f"/v1/jobs/{job['id']}").json()
    assert (first["id"], first["name"], first["images"]) == (job["id"], "balls", 3)
    ids = accept(served, job["id"])
    done = complete(served, job["id"])
    assert done["counts"] == {"complete": 3}
    assert (done["accepted_positives"], done["accepted_negatives"]) == (3, 3)
    assert done["finished_at"]

    listed = served.client.get("/v1/jobs").json()
    assert [item["id"] for item in listed["items"]] == [job["id"]]
    page = served.client.get(f"/v1/jobs/{job['id']}/images?page_size=2").json()
    rest = served.client.get(
        f"/v1/jobs/{job['id']}/images", params={"page_token": page["next_page_token"]}
    ).json()
    shown = page["items"] + rest["items"]
    assert [item["image_id"] for item in shown] == sorted(ids)
    assert {item["state"] for item in shown} == {"complete"}
    assert served.client.get(f"/v1/jobs/{job['id']}/images?state=failed").json()["items"] == []
    assert served.client.get(f"/v1/jobs/{job['id']}/report").status_code == 200


def test_an_image_and_its_annotations(served: Running) -> None:
    job = submit(served, 1)
    [image_id] = accept(served, job["id"])
    complete(served, job["id"])
    image = served.client.get(f"/v1/images/{image_id}").json()
    assert (image["id"], image["name"], image["width"], image["height"]) == (image_id, "0.png", 32, 24)
    assert image["job_ids"] == [job["id"]]

    content = served.client.get(f"/v1/images/{image_id}/content")
    assert content.content == png(0)
    assert content.headers["content-type"] == "image/png"
    cached = served.client.get(
        f"/v1/images/{image_id}/content", headers={"If-None-Match": content.headers["etag"]}
    )
    assert (cached.status_code, cached.content) == (304, b"")

    path = f"/v1/images/{image_id}/thumbnail"
    small = served.client.get(path)
    with Image.open(io.BytesIO(small.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 24)), "it is not enlarged"
    assert small.headers["content-type"] == "image/jpeg"
    assert small.headers["cache-control"] == content.headers["cache-control"]
    assert "immutable" in small.headers["cache-control"]
    cached = served.client.get(path, headers={"If-None-Match": small.headers["etag"]})
    assert (cached.status_code, cached.content) == (304, b"")
    assert served.client.get(f"{path}?side=512").headers["etag"] != small.headers["etag"]
    for side in ("0", "100", "100000", "x"):
        assert served.client.get(f"{path}?side={side}").status_code == 422
    other = served.key("submitter", tenant="other")
    for header in ({}, {"If-None-Match": small.headers["etag"]}):
        assert served.client.get(path, headers={**other, **header}).status_code == 404

    found = served.client.get(f"/v1/images/{image_id}/annotations").json()
    assert [(pair["phrase"], pair["polarity"]) for pair in found["pairs"]] == [
        ("blue ball", "negative"),
        ("red ball", "positive"),
    ]
    [mask] = found["pairs"][1]["masks"]
    assert mask["box"] == [6.0, 4.0, 14.0, 8.0]
    drawn = masks.decode(mask["rle"]["counts"].encode(), *mask["rle"]["size"])
    assert drawn.sum() == mask["area"] == 112
    assert mask["made_by"]["model"] == "sam"
    assert found["pairs"][0]["confused_with"] == "red ball"

    overlay = served.client.get(f"/v1/images/{image_id}/overlay.png?phrase=red ball")
    with Image.open(io.BytesIO(overlay.content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (32, 24))
    assert served.client.get(f"/v1/images/{image_id}/overlay.png?phrase=unicorn").status_code == 404


@pytest.mark.parametrize("format_", ["saco", "coco"])
def test_an_export(served: Running, format_: str) -> None:
    job = submit(served)
    accept(served, job["id"])
    complete(served, job["id"])
    body = {"format": format_, "job_ids": [job["id"]]}
    made = served.client.post("/v1/exports", json=body)
    assert made.status_code == 201
    export = made.json()
    assert (export["images"], export["masks"]) == (3, 3)
    assert served.client.post("/v1/exports", json=body).json()["id"] == export["id"]
    assert served.client.get(made.headers["location"]).json()["id"] == export["id"]
    assert [item["id"] for item in served.client.get("/v1/exports").json()["items"]] == [export["id"]]
    content = served.client.get(f"/v1/exports/{export['id']}/content")
    assert len(content.content) == export["size"]
    assert content.headers["etag"] == f'"{export["sha256"]}"'
    assert json.loads(content.content)["annotations"]
    unknown = served.client.post("/v1/exports", json={"job_ids": ["job_none"]})
    assert unknown.status_code == 404


def test_events_until_the_end(served: Running) -> None:
    job = submit(served)
    lines: list[str] = []

    def watch() -> None:
        with served.client.stream(
            "GET", f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": "17"}
        ) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines.extend(stream.iter_lines())

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        accept(served, job["id"])
        watching.result(timeout=60)
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[-1] == "end"
    assert set(events[:-1]) <= {"job"}
    last = json.loads([line for line in lines if line.startswith("data: ")][-1].removeprefix("data: "))
    assert (last["status"], last["counts"]) == ("complete", {"complete": 3})
    assert [line for line in lines if line.startswith("id: ")]
    assert "retry: 2000" in lines


def test_cancelled(served: Running) -> None:
    job = submit(served)
    accept(served, job["id"], most=1)
    eventually(lambda: served.client.get(f"/v1/jobs/{job['id']}").json()["counts"].get("complete"))
    answer = served.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["counts"] == {"cancelled": 2, "complete": 1}
    again = served.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (202, "cancelled")
    assert len([event for event in served.jobs() if event.WhichOneof("event") == "cancelled"]) == 1

    finished = submit(served, 1)
    accept(served, finished["id"])
    complete(served, finished["id"])
    late = served.client.post(f"/v1/jobs/{finished['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "conflict")


def test_the_webhook_hears_of_the_end(served: Running, hooks: Hooks) -> None:
    job = submit(served, 1, webhook_url=f"http://hooks.test:{hooks.port}/done")
    accept(served, job["id"])
    complete(served, job["id"])
    eventually(lambda: hooks.bodies)
    [body] = hooks.bodies
    assert (body["event"], body["job"]["id"], body["job"]["status"]) == (
        "job.finished",
        job["id"],
        "complete",
    )


def test_foreign_is_unknown(served: Running) -> None:
    """Another tenant gets the very same answers for what is there and for what is not."""
    job = submit(served, 1)
    [image_id] = accept(served, job["id"])
    complete(served, job["id"])
    export = served.client.post("/v1/exports", json={}).json()
    stranger = served.key("admin", tenant="other")

    def answer(method: str, path: str) -> tuple[int, str]:
        found = served.client.request(method, path, headers=stranger)
        return found.status_code, found.json().get("code", "")

    unknown_image = "f" * 64
    for method, path, known, unknown in (
        ("GET", "/v1/jobs/{}", job["id"], "job_none"),
        ("GET", "/v1/jobs/{}/images", job["id"], "job_none"),
        ("GET", "/v1/jobs/{}/events", job["id"], "job_none"),
        ("GET", "/v1/jobs/{}/report", job["id"], "job_none"),
        ("POST", "/v1/jobs/{}/cancel", job["id"], "job_none"),
        ("GET", "/v1/images/{}", image_id, unknown_image),
        ("GET", "/v1/images/{}/content", image_id, unknown_image),
        ("GET", "/v1/images/{}/annotations", image_id, unknown_image),
        ("GET", "/v1/images/{}/overlay.png", image_id, unknown_image),
        ("GET", "/v1/exports/{}", export["id"], "exp_none"),
        ("GET", "/v1/exports/{}/content", export["id"], "exp_none"),
    ):
        assert (
            answer(method, path.format(known)) == answer(method, path.format(unknown)) == (404, "not_found")
        )
    assert served.client.get("/v1/jobs", headers=stranger).json()["items"] == []
    assert served.client.get("/v1/exports", headers=stranger).json()["items"] == []
    assert served.client.get(f"/v1/jobs/{job['id']}").json()["status"] == "complete"


def test_pages_of_jobs_newest_first(served: Running) -> None:
    made = [submit(served, 1)["id"] for _ in range(3)]
    eventually(lambda: len(served.client.get("/v1/jobs").json()["items"]) == 3)
    first = served.client.get("/v1/jobs?page_size=2").json()
    rest = served.client.get("/v1/jobs", params={"page_token": first["next_page_token"]}).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_page_token"] is None

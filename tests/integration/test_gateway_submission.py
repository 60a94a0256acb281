"""Submissions over REST, down to the records on the bus."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message
from services.kit.bus.topics import IMAGES_SUBMITTED, JOBS_EVENTS
from services.kit.clock import ManualClock
from tercet.v1 import concepts_pb2
from tests.support.gateways import Running, adapters, files, png, running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(adapters(tmp_path), max_images=6, max_image_bytes=200_000) as found:
        yield found


def zipped(contents: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return made.getvalue()


class TestMultipart:
    def test_a_job_is_one_transaction_and_its_answer(self, served: Running) -> None:
        job = json.dumps(
            {"stage": "semi_automatic", "phrases": ["red ball"], "name": "n", "hard_negatives": 3}
        )
        answer = served.client.post(
            "/v1/jobs", data={"job": job}, files=files(("a.png", png(1)), ("b.png", png(2)))
        )
        assert answer.status_code == 202
        body = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{body['id']}"
        assert (body["status"], body["images"], body["counts"]) == ("running", 2, {"submitted": 2})
        assert (body["stage"], body["tier"], body["phrases"]) == ("semi_automatic", "silver", ["red ball"])

        [event] = served.jobs()
        assert event.job_id == body["id"]
        assert event.tenant == "default"
        assert event.created.spec.stage == concepts_pb2.STAGE_SEMI_AUTOMATIC
        assert event.created.spec.hard_negatives == 3
        assert event.created.spec.accept_above == pytest.approx(0.9)
        assert [image.name for image in event.created.images] == ["a.png", "b.png"]
        submitted = {item.image.name: item for item in served.images()}
        assert submitted.keys() == {"a.png", "b.png"}
        for name, content in (("a.png", png(1)), ("b.png", png(2))):
            image = submitted[name].image
            assert image.id == hashlib.sha256(content).hexdigest()
            assert image.inline == content
            assert served.adapters.blobs.get(f"default/images/{image.id}") == content
            assert submitted[name].run.job_id == event.job_id
            assert submitted[name].run.spec == event.created.spec
            assert submitted[name].run.submitted_at == event.at

    def test_headers_of_the_records(self, served: Running) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        answer = served.client.post("/v1/jobs", files=files(("a.png", png())), headers={"traceparent": trace})
        records = list(served.adapters.bus.read([JOBS_EVENTS, IMAGES_SUBMITTED]))
        assert [record.headers["schema"] for record in records] == [
            "tercet.v1.JobEvent",
            "tercet.v1.ImageSubmitted",
        ]
        for record in records:
            assert record.headers["tenant"] == "default"
            assert record.headers["job_id"] == answer.json()["id"]
            assert record.headers["traceparent"].split("-")[1] == trace.split("-")[1]

    def test_options_as_fields_of_their_own(self, served: Running) -> None:
        answer = served.client.post(
            "/v1/jobs",
            data={
                "stage": "automatic",
                "phrases": ["cat", "dog", "cat"],
                "accept_above": "0.8",
                "audit_rate": "0",
            },
            files=files(("a.png", png())),
        )
        assert answer.status_code == 202, answer.text
        body = answer.json()
        assert body["phrases"] == ["cat", "dog"]
        assert body["thresholds"] == {"accept_above": 0.8, "reject_below": 0.7}
        assert (body["audit_rate"], body["tier"]) == (0.0, "synthetic")

    def test_the_job_may_come_as_a_file_and_after_the_images(self, served: Running) -> None:
        parts = [*files(("a.png", png())), ("job", ("job.json", b'{"stage": "assisted_manual"}'))]
        answer = served.client.post("/v1/jobs", files=parts)
        assert answer.json()["stage"] == "assisted_manual"

    def test_good_images_stay_and_bad_ones_are_listed(self, served: Running) -> None:
        gif = io.BytesIO()
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        frames[0].save(gif, format="GIF", save_all=True, append_images=frames[1:])
        answer = served.client.post(
            "/v1/jobs",
            files=files(
                ("good.png", png(1)),
                ("empty.jpg", b""),
                ("drawing.png", b"<svg/>"),
                ("moving.gif", gif.getvalue()),
                ("half.png", png(2)[:500]),
                ("huge.png", png(3) + b"\0" * 200_000),
            ),
        )
        assert answer.status_code == 202
        body = answer.json()
        assert body["images"] == 1
        assert [(item["name"], item["code"]) for item in body["refused"]] == [
            ("empty.jpg", "empty"),
            ("drawing.png", "unsupported_type"),
            ("moving.gif", "multi_frame"),
            ("half.png", "truncated"),
            ("huge.png", "too_large"),
        ]
        assert all(item["reason"] for item in body["refused"])
        [event] = served.jobs()
        assert len(event.created.refused) == 5

    @pytest.mark.parametrize(
        ("content", "status", "code"),
        [
            (b"", 400, "empty"),
            (b"<html>", 415, "unsupported_type"),
            (png()[:300], 422, "truncated"),
            (b"BM" + b"\0" * 200_000, 413, "too_large"),
        ],
    )
    def test_no_good_image_no_job(self, served: Running, content: bytes, status: int, code: str) -> None:
        answer = served.client.post("/v1/jobs", files=files(("a", content)))
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["code"] == "no_image_taken"
        assert [item["code"] for item in body["refused"]] == [code]
        assert served.jobs() == []
        assert served.images() == []

    def test_an_image_that_comes_twice_is_taken_once(self, served: Running) -> None:
        answer = served.client.post("/v1/jobs", files=files(("a", png(1)), ("b", png(1)), ("c", png(2))))
        assert answer.json()["images"] == 2
        assert sorted(item.image.name for item in served.images()) == ["a", "c"]

    def test_a_large_image_is_a_claim_check(self, served: Running, tmp_path: Path) -> None:
        with running(adapters(tmp_path / "other"), inline_job_bytes=5_000) as tight:
            answer = tight.client.post(
                "/v1/jobs", files=files(*((str(seed), png(seed)) for seed in range(5)))
            )
            assert answer.status_code == 202
            kinds = [str(item.image.WhichOneof("content")) for item in tight.images()]
            assert sorted(kinds) == ["blob", "blob", "blob", "inline", "inline"]
            for item in tight.images():
                if item.image.WhichOneof("content") == "blob":
                    content = tight.adapters.blobs.fetch(item.image.blob)
                    assert hashlib.sha256(content).hexdigest() == item.image.id

    @pytest.mark.parametrize(
        ("data", "field"),
        [
            ({"stage": "robotic"}, "stage"),
            ({"hard_negatives": "31"}, "hard_negatives"),
            ({"colour": "red"}, "colour"),
            ({"job": '{"colour": "red"}'}, "job.colour"),
            ({"job": '{"thresholds": {"accept_above": 0.5, "reject_below": 0.6}}'}, "job.thresholds"),
            ({"job": "{}", "stage": "automatic"}, "stage"),
            ({"webhook_url": "http://169.254.169.254/"}, "webhook_url"),
            ({"webhook_url": "ftp://example.org/"}, "webhook_url"),
        ],
    )
    def test_wrong_options(self, served: Running, data: dict[str, str], field: str) -> None:
        answer = served.client.post("/v1/jobs", data=data, files=files(("a.png", png())))
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert served.jobs() == []

    def test_malformed_bodies(self, served: Running) -> None:
        def post(content: bytes, kind: str) -> Any:
            return served.client.post("/v1/jobs", content=content, headers={"content-type": kind})

        assert post(b"x", "multipart/form-data").status_code == 400
        assert post(b"x", "multipart/form-data; boundary=b").status_code == 400
        cut = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\nxx'
        assert post(cut, "multipart/form-data; boundary=b").json()["code"] == "malformed_body"
        assert post(b"{", "application/json").json()["code"] == "malformed_body"
        assert post(b"[" * 100_000, "application/json").status_code == 400
        assert post(b"x", "text/plain").status_code == 415
        assert post(b"", "").status_code == 415
        bad_json = served.client.post("/v1/jobs", data={"job": "{"}, files=files(("a.png", png())))
        assert bad_json.status_code == 400
        assert served.client.post("/v1/jobs", data={"stage": "automatic"}, files=[]).status_code in (415, 422)
        assert served.jobs() == []

    def test_limits_of_the_whole(self, served: Running, tmp_path: Path) -> None:
        many = files(*((str(seed), png(seed)) for seed in range(7)))
        answer = served.client.post("/v1/jobs", files=many)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        with running(adapters(tmp_path / "small"), max_body_bytes=1_000) as small:
            assert small.client.post("/v1/jobs", files=files(("a", png()))).status_code == 413

            def chunks() -> Iterator[bytes]:
                yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
                for _ in range(20):
                    yield b"x" * 100

            answer = small.client.post(
                "/v1/jobs", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"}
            )
            assert answer.status_code == 413
        assert served.jobs() == []


class TestZip:
    def test_as_the_body_and_as_a_part(self, served: Running) -> None:
        archive = zipped({"in/a.png": png(1), "b.txt": b"text", "c.png": png(2)})
        body = served.client.post(
            "/v1/jobs?stage=assisted_manual&phrases=cat&phrases=dog",
            content=archive,
            headers={"content-type": "application/zip"},
        ).json()
        assert (body["stage"], body["images"], body["phrases"]) == ("assisted_manual", 2, ["cat", "dog"])
        assert [(item["name"], item["code"]) for item in body["refused"]] == [("b.txt", "unsupported_type")]
        mixed = served.client.post("/v1/jobs", files=files(("x.zip", archive), ("d.png", png(3)))).json()
        assert mixed["images"] == 3

    def test_a_path_out_of_the_archive(self, served: Running) -> None:
        archive = zipped({"../../evil.png": png(1), "good.png": png(2)})
        body = served.client.post("/v1/jobs", files=files(("x.zip", archive))).json()
        assert [item["code"] for item in body["refused"]] == ["unsafe_name"]

    def test_no_archive(self, served: Running) -> None:
        kind = {"content-type": "application/zip"}
        broken = served.client.post("/v1/jobs", content=b"PK\x03\x04 broken", headers=kind)
        assert broken.status_code == 400
        assert served.client.post("/v1/jobs", content=zipped({}), headers=kind).status_code == 400
        # Not a zip at all: then it is looked at as a picture.
        assert served.client.post("/v1/jobs", content=b"hello", headers=kind).status_code == 415
        assert (
            served.client.post("/v1/jobs?x=y", content=zipped({"a": png()}), headers=kind).status_code == 422
        )


class TestOverload:
    def test_too_many_submissions_at_once(self, tmp_path: Path) -> None:
        gate, entered = threading.Event(), threading.Event()

        class SlowBus(EmbeddedBus):
            def publish(self, messages: Sequence[Message]) -> None:
                entered.set()
                assert gate.wait(30)
                super().publish(messages)

        with (
            running(adapters(tmp_path, bus=SlowBus()), uploads=1) as served,
            ThreadPoolExecutor(1) as pool,
        ):
            first = pool.submit(served.client.post, "/v1/jobs", files=files(("a", png())))
            assert entered.wait(30)
            second = served.client.post("/v1/jobs", files=files(("a", png())))
            gate.set()
            assert (second.status_code, second.json()["code"]) == (503, "overloaded")
            assert second.headers["retry-after"] == "5"
            assert first.result().status_code == 202

    def test_too_many_requests_of_a_key(self, tmp_path: Path) -> None:
        with running(adapters(tmp_path, clock=ManualClock()), rate_per_second=1, rate_burst=3) as served:
            mine, other = served.key("submitter"), served.key("submitter")
            statuses = [served.client.get("/v1/lag", headers=mine).status_code for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
            refused = served.client.get("/v1/lag", headers=mine)
            assert refused.headers["retry-after"] == "1"
            assert served.client.get("/v1/lag", headers=other).status_code == 200

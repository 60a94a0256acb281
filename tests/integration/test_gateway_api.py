"""What holds for every route: keys, roles, tenants, problems, the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.schemas import Problem
from services.core.errors import Internal
from services.kit.bus.dlq import letter
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.outcomes import Poison
from services.kit.bus.ports import Record
from services.kit.bus.topics import IMAGES_PROPOSED
from tests.support.gateways import Running, adapters, png, running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(adapters(tmp_path)) as found:
        yield found


IMAGE = "0" * 64
WITH_KEY = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/j"),
    ("GET", "/v1/jobs/j/images"),
    ("GET", "/v1/jobs/j/events"),
    ("GET", "/v1/jobs/j/report"),
    ("GET", "/v1/jobs/j/pairs"),
    ("POST", "/v1/jobs/j/cancel"),
    ("GET", f"/v1/images/{IMAGE}"),
    ("GET", f"/v1/images/{IMAGE}/content"),
    ("GET", f"/v1/images/{IMAGE}/thumbnail"),
    ("GET", f"/v1/images/{IMAGE}/annotations"),
    ("GET", f"/v1/images/{IMAGE}/overlay.png"),
    ("POST", f"/v1/images/{IMAGE}/segment"),
    ("POST", f"/v1/images/{IMAGE}/hard-negatives"),
    ("GET", "/v1/phrases"),
    ("POST", "/v1/reviews/lease"),
    ("POST", "/v1/reviews/t/lease"),
    ("POST", "/v1/reviews/t/undo"),
    ("POST", "/v1/reviews/t/renew"),
    ("POST", "/v1/reviews/t/release"),
    ("POST", "/v1/reviews/t/skip"),
    ("POST", "/v1/reviews/t/decision"),
    ("GET", "/v1/reviews/queues"),
    ("POST", "/v1/exports"),
    ("GET", "/v1/exports"),
    ("GET", "/v1/exports/e"),
    ("GET", "/v1/exports/e/content"),
    ("GET", "/v1/lag"),
    ("GET", "/v1/dlq"),
    ("POST", "/v1/dlq/replay"),
    ("GET", "/v1/models"),
    ("GET", "/v1/statistics"),
    ("GET", "/v1/me"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("DELETE", "/v1/keys/k"),
]


class TestKeys:
    @pytest.mark.parametrize(("method", "path"), WITH_KEY)
    def test_none_or_a_wrong_one(self, served: Running, method: str, path: str) -> None:
        for header in ("", "Bearer tercet_wrong", "Basic abc"):
            answer = served.client.request(method, path, headers={"Authorization": header})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] == "unauthenticated"

    def test_every_route_is_in_the_list(self, served: Running) -> None:
        document = served.client.get("/openapi.json").json()
        documented = [
            (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if operation.get("security")
        ]
        for method, path in WITH_KEY:
            assert any(known == method and pattern.fullmatch(path) for known, pattern in documented)
        assert len(documented) == len(WITH_KEY)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("POST", "/v1/jobs", {"submitter", "lead", "admin"}),
            ("POST", "/v1/jobs/j/cancel", {"submitter", "lead", "admin"}),
            ("POST", "/v1/exports", {"submitter", "lead", "admin"}),
            ("POST", "/v1/reviews/lease", {"annotator", "verifier", "lead", "admin"}),
            ("POST", "/v1/reviews/t/renew", {"annotator", "verifier", "lead", "admin"}),
            ("POST", "/v1/reviews/t/release", {"annotator", "verifier", "lead", "admin"}),
            ("POST", "/v1/reviews/t/skip", {"annotator", "verifier", "lead", "admin"}),
            ("POST", "/v1/reviews/t/decision", {"annotator", "verifier", "lead", "admin"}),
            ("POST", f"/v1/images/{IMAGE}/segment", {"annotator", "verifier", "lead", "admin"}),
            ("POST", f"/v1/images/{IMAGE}/hard-negatives", {"annotator", "verifier", "lead", "admin"}),
            ("GET", "/v1/phrases", {"annotator", "verifier", "lead", "admin"}),
            ("GET", "/v1/jobs/j/pairs", {"submitter", "lead", "admin"}),
            ("GET", "/v1/statistics", {"submitter", "lead", "admin"}),
            ("GET", "/v1/me", {"submitter", "annotator", "verifier", "lead", "admin"}),
            ("GET", "/v1/dlq", {"lead", "admin"}),
            ("POST", "/v1/dlq/replay", {"admin"}),
            ("GET", "/v1/keys", {"admin"}),
            ("POST", "/v1/keys", {"admin"}),
            ("DELETE", "/v1/keys/k", {"admin"}),
            ("GET", "/v1/lag", {"submitter", "annotator", "verifier", "lead", "admin"}),
        ],
    )
    def test_roles(self, served: Running, method: str, path: str, allowed: set[str]) -> None:
        for role in ("submitter", "annotator", "verifier", "lead", "admin"):
            answer = served.client.request(method, path, headers=served.key(role))
            assert (answer.status_code != 403) == (role in allowed), role
            if role not in allowed:
                assert answer.json()["code"] == "forbidden"

    def test_made_listed_revoked(self, served: Running) -> None:
        made = served.client.post("/v1/keys", json={"name": "ci", "roles": ["submitter"]})
        assert made.status_code == 201
        key = made.json()
        mine = {"Authorization": f"Bearer {key['token']}"}
        assert served.client.get("/v1/lag", headers=mine).status_code == 200
        listed = served.client.get("/v1/keys").json()["items"]
        assert [item["name"] for item in listed] == ["test", "ci"]
        assert all("token" not in item for item in listed)
        assert served.client.delete(f"/v1/keys/{key['id']}").status_code == 204
        assert served.client.get("/v1/lag", headers=mine).status_code == 401
        assert served.client.delete(f"/v1/keys/{key['id']}").status_code == 404

    @pytest.mark.parametrize(
        "body",
        [
            {"name": "", "roles": ["admin"]},
            {"name": "x", "roles": []},
            {"name": "x", "roles": ["root"]},
            {"name": "x", "roles": ["admin"], "tenant": "_system"},
            {"name": "x", "roles": ["admin"], "tenant": "a/b"},
            {"name": "x", "roles": ["admin"], "more": 1},
        ],
    )
    def test_wrong_requests(self, served: Running, body: dict[str, Any]) -> None:
        assert served.client.post("/v1/keys", json=body).status_code == 422

    def test_keys_of_other_tenants(self, served: Running) -> None:
        body = {"name": "x", "roles": ["admin"], "tenant": "acme"}
        made = served.client.post("/v1/keys", json=body).json()
        theirs = {"Authorization": f"Bearer {made['token']}"}
        assert [item["name"] for item in served.client.get("/v1/keys", headers=theirs).json()["items"]] == [
            "x"
        ]
        refused = served.client.post("/v1/keys", json={**body, "tenant": "default"}, headers=theirs)
        assert refused.status_code == 403
        mine = served.client.get("/v1/keys").json()["items"][0]["id"]
        assert served.client.delete(f"/v1/keys/{mine}", headers=theirs).status_code == 404


class TestDeadLetters:
    def poison(self, bus: EmbeddedBus, tenant: str, job_id: str, offset: int) -> None:
        record = Record(
            topic=IMAGES_PROPOSED,
            key=IMAGE,
            value=b"v",
            headers={"tenant": tenant, "job_id": job_id},
            partition=1,
            offset=offset,
            timestamp_ms=0,
        )
        bus.publish([letter(record, Poison("InvalidInput", "it is broken"), group="segmenter", attempts=3)])

    def test_listed_and_replayed_by_whom_they_belong_to(self, tmp_path: Path) -> None:
        bus = EmbeddedBus()
        self.poison(bus, "default", "job_a", 1)
        self.poison(bus, "acme", "job_b", 2)
        with running(adapters(tmp_path, bus=bus)) as served:
            acme = served.key("admin", tenant="acme")
            everyone = served.client.get("/v1/dlq").json()["items"]
            assert {item["job_id"] for item in everyone} == {"job_a", "job_b"}
            lead = served.client.get("/v1/dlq", headers=served.key("lead")).json()["items"]
            assert [item["job_id"] for item in lead] == ["job_a"]
            [theirs] = served.client.get("/v1/dlq", headers=acme).json()["items"]
            assert theirs["job_id"] == "job_b"
            assert (theirs["topic"], theirs["partition"], theirs["offset"]) == (IMAGES_PROPOSED, 1, 2)
            assert (theirs["error"], theirs["message"], theirs["attempts"]) == (
                "InvalidInput",
                "it is broken",
                3,
            )

            ids = [item["id"] for item in everyone]
            replayed = served.client.post("/v1/dlq/replay", json={"ids": ids}, headers=acme)
            assert replayed.json() == {"replayed": 1}
            [record] = bus.read([IMAGES_PROPOSED])
            assert (record.headers["job_id"], record.value) == ("job_b", b"v")
            assert [item["job_id"] for item in served.client.get("/v1/dlq").json()["items"]] == ["job_a"]
            again = served.client.post("/v1/dlq/replay", json={"topic": IMAGES_PROPOSED}, headers=acme)
            assert again.json() == {"replayed": 0}
            assert served.client.post("/v1/dlq/replay", json={}).json() == {"replayed": 1}

    def test_unknown_topic(self, served: Running) -> None:
        assert served.client.get("/v1/dlq?topic=secrets").status_code == 404


class TestProblems:
    def check(self, answer: Any, status: int, code: str) -> None:
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        body = Problem.model_validate(answer.json())
        assert (body.status, body.code, body.type) == (status, code, f"urn:tercet:problem:{code}")
        assert body.request_id
        assert "Traceback" not in answer.text

    def test_of_the_framework(self, served: Running) -> None:
        self.check(served.client.get("/v1/nothing"), 404, "not_found")
        self.check(served.client.put("/v1/jobs"), 405, "method_not_allowed")
        self.check(served.client.get("/v1/images/no-hex"), 422, "wrong_fields")
        self.check(served.client.get("/v1/jobs?page_size=0"), 422, "wrong_fields")
        kind = {"content-type": "application/json"}
        self.check(served.client.post("/v1/keys", content=b"{", headers=kind), 400, "malformed_body")
        self.check(served.client.post("/v1/keys", content=b"x" * 2_000_000, headers=kind), 413, "too_large")

        def chunks() -> Iterator[bytes]:
            for _ in range(200):
                yield b" " * 10_000

        answer = served.client.post("/v1/keys", content=chunks(), headers=kind)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"

    def test_a_part_that_is_away(self, served: Running) -> None:
        answer = served.client.get("/v1/jobs/j")
        self.check(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
        assert "nonexistent" not in answer.text

    def test_a_broken_promise_tells_nothing(self, served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        for fault in (Internal("password at /etc"), ZeroDivisionError("password at /etc")):

            def raising(fault: Exception = fault) -> None:
                raise fault

            monkeypatch.setattr(served.adapters.bus, "lag", raising)
            answer = served.client.get("/v1/lag")
            self.check(answer, 500, "internal")
            assert "password" not in answer.text

    def test_request_ids(self, served: Running) -> None:
        given = served.client.get("/v1/nothing", headers={"X-Request-Id": "mine-1"})
        assert given.headers["x-request-id"] == given.json()["request_id"] == "mine-1"
        for bad in ("a b", "x" * 65, "<script>"):
            made = served.client.get("/v1/nothing", headers={"X-Request-Id": bad})
            assert made.headers["x-request-id"] != bad
            assert made.headers["x-request-id"] == made.json()["request_id"]

    def test_browsers_are_kept_careful(self, served: Running) -> None:
        headers = served.client.get("/v1/lag").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


class TestHealth:
    def test_probes_need_no_key(self, served: Running) -> None:
        nobody = {"Authorization": ""}
        assert served.client.get("/healthz", headers=nobody).status_code == 200
        ready = served.client.get("/readyz", headers=nobody)
        assert ready.status_code == 503
        checks = {check["name"]: check["ok"] for check in ready.json()["checks"]}
        assert checks == {"bus": True, "redis": True, "blobs": True, "dataset": False}

    def test_metrics(self, served: Running) -> None:
        served.client.post("/v1/jobs", files=[("images", ("a.png", png()))])
        consumer = served.adapters.bus.subscribe(group="late", topics=["images.submitted"])
        consumer.poll(max_records=1, timeout=1)
        text = served.client.get("/metrics", headers={"Authorization": ""}).text
        assert 'tercet_http_requests_total{method="POST",route="/v1/jobs",status="202"}' in text
        assert 'tercet_jobs_created_total{stage="automatic"}' in text
        assert 'kafka_consumergroup_lag_sum{consumergroup="late",topic="images.submitted"} 1.0' in text
        consumer.close()


class TestOpenApi:
    def test_everything_is_described(self, served: Running) -> None:
        document = served.client.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                where = f"{method} {path}"
                assert operation["summary"], where
                assert operation["description"], where
                for parameter in operation.get("parameters", []):
                    assert parameter.get("description") or parameter["name"] == "key_id", where
                if operation.get("security"):
                    for status in ("401", "403", "429", "503"):
                        content = operation["responses"][status]["content"]
                        assert "application/problem+json" in content, where
        described = json.dumps(document)
        for name in ("JobOptions", "JobRequest", "Problem", "Annotations"):
            assert name in document["components"]["schemas"]
        assert '"#/components/schemas/JobRequest"' in described

    def test_every_reference_leads_somewhere(self, served: Running) -> None:
        document = served.client.get("/openapi.json").json()
        references: set[str] = set()

        def walk(node: Any) -> None:
            if isinstance(node, dict):
                if isinstance(node.get("$ref"), str):
                    references.add(node["$ref"])
                for child in node.values():
                    walk(child)
            elif isinstance(node, list):
                for child in node:
                    walk(child)

        walk(document)
        names = {reference.removeprefix("#/components/schemas/") for reference in references}
        assert names
        assert names <= document["components"]["schemas"].keys()

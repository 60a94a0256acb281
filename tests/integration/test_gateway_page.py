"""What the page asks for beside reviews, over REST: the engine in one process; its models see pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from deploy.demo.engine import free_port
from gateway.schemas import Role
from services.core import masks
from services.embedded.engine import Engine
from services.embedded.settings import EmbeddedSettings
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.embedded import EmbeddedBus
from services.kit.clock import SystemClock
from services.kit.service import Adapters
from services.kit.state.embedded import embedded as embedded_state
from tests.support.polling import eventually
from tests.support.stage_models import SIZE, Sight, inference_of, picture

HEIGHT, WIDTH = SIZE
SCENE = picture([("red bus", (4, 8, 20, 30)), ("red bus", (30, 8, 20, 30)), ("blue car", (60, 40, 20, 15))])
OTHER = picture([("blue car", (10, 10, 30, 20))])
BUS_IN = [4.0, 8.0, 20.0, 30.0]
CAR_AT = {"x": 65, "y": 45, "positive": True}


@dataclass
class Page:
    """A served engine, and requests as a browser makes them."""

    http: httpx.Client
    admin: dict[str, str]
    job_id: str = ""
    image_id: str = ""

    def key(self, *roles: Role, tenant: str = "default", name: str = "someone") -> dict[str, str]:
        body = {"name": name, "roles": list(roles), "tenant": tenant}
        made = self.http.post("/v1/keys", json=body, headers=self.admin).json()
        return {"Authorization": f"Bearer {made['token']}"}

    def submit(self, content: bytes, key: dict[str, str], **options: Any) -> dict[str, Any]:
        answer = self.http.post(
            "/v1/jobs",
            files=[("images", ("a.png", content))],
            data={"job": json.dumps(options)},
            headers=key,
        )
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["id"]

        def done() -> dict[str, Any]:
            job: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}", headers=key).json()
            return job if job["status"] in ("waiting_for_people", "complete") else {}

        return eventually(done, timeout=60)

    def get(self, path: str, key: Mapping[str, str] | None = None, **params: Any) -> Any:
        answer = self.http.get(path, params=params, headers=key or self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def segment(self, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/images/{self.image_id}/segment", json=body, headers=self.admin)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    port = free_port()
    settings = EmbeddedSettings(
        state=folder,
        blobs_url=f"file://{folder}/blobs",
        key_file=folder / "api-key",
        gateway_port=port,
        hourly_rate=36.0,
        rate_burst=10_000,
    )
    adapters = Adapters(
        bus=EmbeddedBus(),
        redis=embedded_state(),
        blobs=connect_blobs(settings.blobs_url),
        inference=inference_of(Sight(proposed=("red bus", "blue car")).models()),
        clock=SystemClock(),
    )
    engine = Engine(adapters, settings, folder)
    token = engine.start()
    try:
        assert engine.wait_ready()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            made = Page(http, {"Authorization": f"Bearer {token}"})
            job = made.submit(SCENE, made.admin, stage="semi_automatic", hard_negatives=4)
            made.job_id = job["id"]
            (image,) = made.get(f"/v1/jobs/{made.job_id}/images")["items"]
            made.image_id = image["image_id"]
            yield made
    finally:
        engine.stop()


def test_who_asks(page: Page) -> None:
    found = page.get("/v1/me", page.key("annotator", "verifier", name="Ada"))
    assert (found["name"], found["tenant"], found["roles"]) == ("Ada", "default", ["annotator", "verifier"])
    assert found["key_id"].startswith("key_")


class TestSegment:
    def test_a_click_gives_one_mask(self, page: Page) -> None:
        answer = page.segment(points=[CAR_AT]).json()
        (mask,) = answer["masks"]
        assert (mask["box"], mask["area"]) == ([60.0, 40.0, 20.0, 15.0], 300)
        assert mask["rle"]["size"] == [HEIGHT, WIDTH]
        assert answer["model"]["name"] == "sam"
        again = page.segment(points=[CAR_AT, {"x": 1, "y": 1, "positive": False}], mask=mask["rle"])
        assert again.json()["masks"][0]["area"] == 300

    def test_several_boxes_give_a_mask_each(self, page: Page) -> None:
        answer = page.segment(boxes=[[58, 38, 26, 20], [90, 55, 4, 4], BUS_IN]).json()
        assert [mask["area"] for mask in answer["masks"]] == [300, 0, 600]

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({}, "click or a box"),
            ({"points": [{"x": WIDTH + 1, "y": 3}]}, f"{WIDTH} x {HEIGHT}"),
            ({"points": [{"x": 3, "y": -1}]}, "greater than or equal to 0"),
            ({"points": [{"x": "NaN", "y": 1}]}, "finite"),
            ({"points": [{"x": 1, "y": 1}] * 300}, "at most 256"),
            ({"boxes": [[WIDTH - 5, 3, 9, 4]]}, "reaches to"),
            ({"boxes": [[3, 3, 0, 4]]}, "greater than 0"),
            ({"boxes": [BUS_IN] * 65}, "at most 64"),
            ({"boxes": [BUS_IN] * 2, "points": [{"x": 1, "y": 1}]}, "several boxes"),
            ({"points": [CAR_AT], "mask": {"size": [4, 4], "counts": "52203"}}, "the mask is 4 x 4"),
            ({"points": [CAR_AT], "mask": {"size": [HEIGHT, WIDTH], "counts": "52203"}}, "mask.counts"),
            ({"points": [CAR_AT], "more": 1}, "more"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_the_reason(
        self, page: Page, body: dict[str, Any], says: str
    ) -> None:
        answer = page.segment(**body)
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in answer.text

    def test_of_another_tenant_or_of_nobody(self, page: Page) -> None:
        other = page.key("annotator", tenant="other")
        for image_id, key in ((page.image_id, other), ("0" * 64, page.admin)):
            answer = page.http.post(f"/v1/images/{image_id}/segment", json={"points": [CAR_AT]}, headers=key)
            assert answer.status_code == 404


def test_hard_negatives_come_with_reasons(page: Page) -> None:
    path = f"/v1/images/{page.image_id}/hard-negatives"
    answer = page.http.post(path, json={"phrases": ["Red Buses"], "limit": 6}, headers=page.admin)
    items = answer.json()["items"]
    assert 0 < len(items) <= 6
    assert all(item["reason"] for item in items)
    assert {"red bus", "bus", "vehicle", "blue car"}.isdisjoint(item["phrase"] for item in items)
    assert any("another colour" in i["reason"] and "instead of red" in i["reason"] for i in items)
    refused = page.http.post(path, json={"phrases": ["is it a bus?"]}, headers=page.admin)
    assert (refused.status_code, "sentence" in refused.json()["detail"]) == (400, True)
    other = page.key("annotator", tenant="other")
    assert page.http.post(path, json={}, headers=other).status_code == 404


def test_phrases_in_use_come_first(page: Page) -> None:
    found = page.get("/v1/phrases", prefix=" The BU")["items"]
    used = [item["phrase"] for item in found if item["source"] == "used"]
    assert "red bus" in used
    assert [item["source"] for item in found] == sorted((i["source"] for i in found), reverse=True)
    offered = [item["phrase"] for item in found if item["source"] == "ontology"]
    assert "bus" in offered
    assert len({item["phrase"] for item in found}) == len(found)
    assert len(page.get("/v1/phrases", limit=3)["items"]) == 3
    strangers = page.get("/v1/phrases", page.key("annotator", tenant="other"), prefix="bu")["items"]
    assert {item["source"] for item in strangers} == {"ontology"}
    assert page.get("/v1/phrases", prefix="green bu")["items"][-1]["phrase"].startswith("green ")


def test_the_gallery_and_the_figures_follow_peoples_work(page: Page) -> None:
    lead, submitter = page.key("lead", name="Lea"), page.key("submitter")
    path = f"/v1/jobs/{page.job_id}/pairs"
    every = page.get(path, submitter)["items"]
    assert all(item["waiting"] and item["pair"]["verdict"] != "accept" for item in every)
    assert {item["pair"]["phrase"] for item in every} > {"red bus", "blue car"}
    paged, cursor = [], ""
    while True:
        found = page.get(path, limit=2, cursor=cursor)
        paged += found["items"]
        cursor = found["next_cursor"]
        if cursor is None:
            break
    assert paged == every
    (bus,) = page.get(path, phrase="Red Buses")["items"]
    assert bus["image"]["id"] == page.image_id
    assert len(bus["pair"]["masks"]) == 2
    drawn = page.http.get(f"/v1/images/{page.image_id}/overlay.png", headers=lead)
    waiting = page.http.get(f"/v1/images/{page.image_id}/overlay.png", params={"waiting": True}, headers=lead)
    assert drawn.status_code == waiting.status_code == 200
    assert drawn.content != waiting.content
    listed = page.get(f"/v1/images/{page.image_id}/annotations", waiting=True)["pairs"]
    assert [pair["phrase"] for pair in listed] == sorted(item["pair"]["phrase"] for item in every)

    leased = {"max_tasks": 20, "job_id": page.job_id}
    tasks = page.http.post("/v1/reviews/lease", json=leased, headers=lead).json()["items"]
    task = next(one for one in tasks if one["task"]["pair"]["phrase"] == "red bus")
    decision = {"id": "d-1", "lease_id": task["lease_id"], "kind": "accept", "active_seconds": 4.0}
    decided = page.http.post(f"/v1/reviews/{task['task']['id']}/decision", json=decision, headers=lead)
    assert decided.status_code == 200, decided.text

    def accepted() -> Any:
        return page.get(path, verdict="accept")["items"]

    (item,) = eventually(accepted, timeout=30)
    assert (item["pair"]["phrase"], item["waiting"]) == ("red bus", False)
    me = page.get("/v1/me", lead)["key_id"]
    assert len(page.get(path, annotator=me)["items"]) == 1
    assert page.get(path, model="sam", min_score=0.0)["items"]

    figures = page.get("/v1/statistics", lead, job_id=page.job_id, hours=1)
    (stage,) = figures["stages"]
    assert (stage["stage"], stage["images"], stage["pairs"]) == ("semi_automatic", 1, 1)
    assert (stage["seconds_per_positive"], stage["seconds_per_negative"]) == (4.0, None)
    assert stage["pairs_per_hour"] == 900.0
    assert (figures["hourly_rate"], stage["cost"]) == (36.0, 0.04)
    (person,) = figures["people"]
    assert (person["name"], person["decisions"], person["rejection_rate"]) == ("Lea", 1, 0.0)
    assert (person["images"], person["images_per_hour"], person["pairs_per_hour"]) == (1, 900.0, 900.0)
    (part,) = person["stages"]
    assert (part["stage"], part["images_per_hour"], part["pairs_per_hour"]) == (
        "semi_automatic",
        900.0,
        900.0,
    )
    scores = figures["scores"]
    assert (len(scores["edges"]), len(scores["positive"]), len(scores["negative"])) == (21, 20, 20)
    assert sum(scores["positive"]) == 2
    assert figures["thresholds"] == {"accept": 0.9, "review": 0.7}
    hidden = page.get("/v1/statistics", submitter)
    assert (hidden["hourly_rate"], hidden["stages"][0]["cost"]) == (None, None)

    other = page.key("lead", tenant="other")
    assert page.http.get(path, headers=other).status_code == 404
    assert page.http.get("/v1/statistics", params={"job_id": page.job_id}, headers=other).status_code == 404
    assert page.get("/v1/statistics", other)["people"] == []


@pytest.mark.parametrize("cursor", ["nonsense", "é", "AAAA", "x"])
def test_a_cursor_of_ones_own_making_is_refused(page: Page, cursor: str) -> None:
    answer = page.http.get(f"/v1/jobs/{page.job_id}/pairs", params={"cursor": cursor}, headers=page.admin)
    assert answer.status_code == 400
    assert "not one of ours" in answer.json()["detail"]


def test_people_of_all_stages_and_drawn_masks(page: Page) -> None:
    """Stage 1, from regions to a pair in the gallery with the person's name on it."""
    worker = page.key("annotator", name="Bo")
    job = page.submit(OTHER, page.admin, stage="assisted_manual")
    lease = {"job_id": job["id"]}
    (held,) = page.http.post("/v1/reviews/lease", json=lease, headers=worker).json()["items"]
    drawn = np.zeros(SIZE, dtype=np.bool_)
    drawn[10:30, 10:40] = True
    rle = {"size": [HEIGHT, WIDTH], "counts": masks.encode(drawn).decode()}
    body = {
        "id": "d-2",
        "lease_id": held["lease_id"],
        "kind": "edit",
        "active_seconds": 30.0,
        "pairs": [
            {"phrase": "blue cars", "masks": [{"rle": rle}], "exhaustive": True},
            {"phrase": "red car", "polarity": "negative", "hard_negative": True},
        ],
    }
    answer = page.http.post(f"/v1/reviews/{held['task']['id']}/decision", json=body, headers=worker)
    assert answer.status_code == 200, answer.text
    path = f"/v1/jobs/{job['id']}/pairs"
    items = eventually(lambda: page.get(path)["items"], timeout=30)
    assert [(i["pair"]["phrase"], i["pair"]["polarity"]) for i in items] == [
        ("blue car", "positive"),
        ("red car", "negative"),
    ]
    assert len(page.get(path, annotator=page.get("/v1/me", worker)["key_id"])["items"]) == 2
    (stage,) = page.get("/v1/statistics", job_id=job["id"])["stages"]
    assert (stage["stage"], stage["images"], stage["images_per_hour"]) == ("assisted_manual", 1, 120.0)
    assert (stage["seconds_per_positive"], stage["seconds_per_negative"]) == (15.0, 15.0)

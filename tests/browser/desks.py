"""What the tests do with a tenant, and with a person's page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from gateway.client import Client, Upload
from gateway.schemas import JobOptions
from gateway.schemas.words import Stage
from services.scenes import write_dataset
from tests.support.polling import eventually

ROLES = Literal["submitter", "annotator", "verifier", "lead", "admin"]
MARGIN = 24
"""Pixels of the screen around an image that is shown whole."""
_SEEDS = itertools.count(9_100_000, 100)


@dataclass(frozen=True)
class Tenant:
    """Makes keys and tasks of its own."""

    operator: Client
    name: str
    url: str
    folder: Path
    seed: int = field(default_factory=lambda: next(_SEEDS))

    def key(self, *roles: ROLES) -> str:
        """The token of a new key."""
        body = {"name": "-".join(roles), "tenant": self.name, "roles": list(roles)}
        token: str = self.rest(self._operator_key, "POST", "/v1/keys", body)["token"]
        return token

    def submit(
        self, stage: Stage, images: int = 1, uploads: Sequence[Upload] | None = None, **options: Any
    ) -> str:
        """A job of the uploads, else of drawn scenes, whose tasks wait for people; its id."""
        key = self.key("submitter")
        settings = self.operator_settings.model_copy(update={"api_key": SecretStr(key)})
        with Client(settings) as submitter:
            job = submitter.submit(uploads or self.scenes(images), JobOptions(stage=stage, **options))
            submitter.wait(job.id, timeout=120)
        watcher = self.key("annotator")
        eventually(
            lambda: sum(q["waiting"] for q in self.rest(watcher, "GET", "/v1/reviews/queues")["queues"]),
            timeout=60,
        )
        return job.id

    def scenes(self, images: int) -> list[Upload]:
        """Drawn scenes."""
        folder = write_dataset(images, self.folder, seed=self.seed) / "images"
        return [Upload.of(path) for path in sorted(folder.iterdir())]

    def rest(self, key: str, method: str, path: str, body: object = None) -> Any:
        """A call of the REST API. Raises for a refusal."""
        answer = httpx.request(
            method, self.url + path, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def decided(self, key: str) -> int:
        """How many tasks of the tenant are decided, by the server's count."""
        queues = self.rest(key, "GET", "/v1/reviews/queues")["queues"]
        return sum(queue["decided"] for queue in queues)

    @property
    def operator_settings(self) -> Any:
        return self.operator.settings

    @property
    def _operator_key(self) -> str:
        token: str = self.operator_settings.key()
        return token


@dataclass(frozen=True)
class Desk:
    """A person's page."""

    page: Page
    key: str
    tenant: Tenant

    @property
    def phrase(self) -> Locator:
        return self.page.get_by_test_id("phrase")

    @property
    def canvas(self) -> Locator:
        return self.page.get_by_test_id("canvas")

    @property
    def objects(self) -> Locator:
        return self.page.locator(".objects li")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def ready(self) -> None:
        """A task is shown with its picture."""
        expect(self.page.locator(".canvas[aria-busy=false]")).to_be_visible()

    def saved(self, count: int) -> None:
        """The header says that so many decisions are saved."""
        expect(self.page.locator(".saving")).to_have_text(f"Saved · {count}")

    def decides(self, key: str) -> dict[str, Any]:
        """Presses the key; the decision that goes out."""
        with self.page.expect_request(lambda request: request.url.endswith("/decision")) as sent:
            self.press(key)
        body: dict[str, Any] | None = sent.value.post_data_json
        assert body is not None
        return body

    def point(self, x: float, y: float) -> tuple[float, float]:
        """The place on the screen of a place on the canvas, both 0..1."""
        box = self.canvas.bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def pixel(self, x: float, y: float, side: int) -> tuple[float, float]:
        """The place on the screen of a pixel of a square image that is shown whole."""
        box = self.canvas.bounding_box()
        assert box is not None
        scale = (min(box["width"], box["height"]) - 2 * MARGIN) / side
        across, down = (x - side / 2) * scale, (y - side / 2) * scale
        return box["x"] + box["width"] / 2 + across, box["y"] + box["height"] / 2 + down

    def stroke(self, *points: tuple[float, float], hold: bool = False) -> None:
        """Draws through the points; `hold` leaves the button down."""
        first, *rest = (self.point(*point) for point in points)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in rest:
            self.page.mouse.move(*place, steps=6)
        if not hold:
            self.page.mouse.up()

    def positive(self) -> str:
        """Takes only pairs that have masks, by the filter; the phrase of the first."""
        self.ready()
        self.page.get_by_role("button", name="Filter").click()
        self.page.get_by_label("negatives to confirm").uncheck()
        self.page.get_by_role("button", name="Show these").click()
        expect(self.page.get_by_role("button", name="Filtered")).to_be_visible()
        expect(self.page.locator(".facts .tag", has_text="negative")).to_have_count(0)
        self.ready()
        expect(self.page.locator(".objects li[data-dropped=false]").first).to_be_visible()
        return self.phrase.inner_text()

    @property
    def negative(self) -> bool:
        return self.page.locator(".facts .tag", has_text="negative").count() > 0

"""One engine and one browser for all; a tenant of its own for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from deploy.demo.engine import Engine, embedded_engine
from gateway.client import Client
from tests.browser.desks import ROLES, Desk, Tenant

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LEASE_SECONDS = 8.0
"""Short, so that a test sees a lease end; the page renews it well before."""
WIDTH, HEIGHT = 1280, 800
WAIT_MS = 20_000
"""The lead's figures are fetched every ten seconds; the rest is for a busy machine."""
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="package")
def chromium_path() -> str:
    """TERCET_CHROMIUM, or what is found on PATH."""
    path = os.environ.get("TERCET_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on PATH; TERCET_CHROMIUM names one")
    return path


@pytest.fixture(scope="package")
def engine(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Gateway, services and models in one process, with the page built."""
    # A process of its own: the demo's way to start the engine hangs in one that has imported FastAPI.
    if not os.environ.get("TERCET_PAGE_IS_BUILT"):
        subprocess.run([sys.executable, "-m", "gateway.web.build"], check=True)
    folder = tmp_path_factory.mktemp("engine")
    (folder / "state").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERCET_MINING_LEASE_SECONDS", str(LEASE_SECONDS))
        with embedded_engine(folder / "state", folder / "engine.log") as running:
            yield running


@pytest.fixture(scope="package")
def chromium(engine: Engine, chromium_path: str) -> Iterator[Browser]:
    """Headless Chromium, closed with the last of these tests: while Playwright is there, asyncio's loop runs.

    After the engine: Playwright's threads run then, and a fork beside threads can hang in what the child does
    before it executes.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tenant(engine: Engine, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant without anything in it."""
    with Client(engine.settings) as operator:
        yield Tenant(operator, f"t-{uuid.uuid4().hex[:12]}", str(engine.settings.url), tmp_path)


@pytest.fixture
def sign_in(chromium: Browser, tenant: Tenant) -> Iterator[Callable[..., Desk]]:
    """Opens the page for a new person. At the end no page may have thrown or logged an error."""
    opened: list[tuple[Page, list[str]]] = []

    def enter(*roles: ROLES, path: str = "") -> Desk:
        key = tenant.key(*(roles or ("annotator",)))
        context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        opened.append((page, errors))
        page.goto(f"{tenant.url}/{path}")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        return Desk(page, key, tenant)

    yield enter
    for page, errors in opened:
        page.context.close()
        assert errors == []

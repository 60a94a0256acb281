"""API keys, rate limits and upload budgets."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gateway.errors import RateLimited
from gateway.keys import PREFIX, KeyRing, ensure_local_key
from gateway.limiting import RateLimiter, UploadBudget
from services.core.errors import Forbidden, NotFound, Overloaded, Unauthenticated
from services.kit.blobs.store import BlobStore, connect
from services.kit.clock import ManualClock
from services.kit.state.embedded import embedded
from services.kit.state.redis import connect as connect_redis


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return connect(f"file://{tmp_path}/blobs")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ring(blobs: BlobStore, clock: ManualClock) -> KeyRing:
    return KeyRing(blobs, clock, cache_seconds=10)


class TestKeys:
    def test_a_key_is_known_by_its_token_alone(self, ring: KeyRing, blobs: BlobStore) -> None:
        key, token = ring.create(name="ci", tenant="acme", roles=["submitter"], created_by="x")
        assert ring.authenticate(f"Bearer {token}") == key
        assert ring.authenticate(f"bearer  {token} ") == key
        [path] = blobs.list(PREFIX)
        stored = blobs.get(path).decode()
        assert token not in stored + path
        assert token.removeprefix("tercet_") not in stored + path
        assert json.loads(stored)["tenant"] == "acme"

    @pytest.mark.parametrize(
        "header",
        [None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "tercet_abc", "Bearer abc", "Bearer tercet_abc",
         "Bearer tercet_" + "a" * 500, "Bearer tercet_../../etc/passwd"],
    )  # fmt: skip
    def test_what_is_no_key(self, ring: KeyRing, header: str | None) -> None:
        with pytest.raises(Unauthenticated):
            ring.authenticate(header)

    def test_revoked_here_at_once_and_elsewhere_after_the_cache(
        self, ring: KeyRing, blobs: BlobStore, clock: ManualClock
    ) -> None:
        key, token = ring.create(name="ci", tenant="acme", roles=["admin"], created_by="x")
        elsewhere = KeyRing(blobs, clock, cache_seconds=10)
        assert elsewhere.authenticate(f"Bearer {token}").id == key.id
        ring.revoke("acme", key.id)
        with pytest.raises(Unauthenticated):
            ring.authenticate(f"Bearer {token}")
        clock.advance(9)
        assert elsewhere.authenticate(f"Bearer {token}").id == key.id
        clock.advance(2)
        with pytest.raises(Unauthenticated):
            elsewhere.authenticate(f"Bearer {token}")

    def test_tenants_are_apart(self, ring: KeyRing) -> None:
        key, _ = ring.create(name="ci", tenant="acme", roles=["admin"], created_by="x")
        assert ring.of_tenant("other") == []
        with pytest.raises(NotFound):
            ring.revoke("other", key.id)
        assert [found.id for found in ring.of_tenant("acme")] == [key.id]

    def test_roles_include_others(self, ring: KeyRing) -> None:
        def key(*roles: str):  # type: ignore[no-untyped-def]
            return ring.create(name="k", tenant="t", roles=roles, created_by="x")[0]  # type: ignore[arg-type]

        assert key("admin").may("annotator")
        assert key("lead").may("submitter")
        assert not key("lead").may("admin")
        assert not key("annotator").may("submitter", "verifier")
        assert key("annotator", "submitter").may("submitter")
        with pytest.raises(Forbidden, match="submitter"):
            key("annotator").require("submitter")


class TestLocalKey:
    def test_made_once_for_its_owner_only(self, ring: KeyRing, tmp_path: Path) -> None:
        file = tmp_path / "state" / "api-key"
        token = ensure_local_key(ring, file)
        assert token is not None
        assert file.read_text() == token + "\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert ring.authenticate(f"Bearer {token}").roles == ("admin",)
        assert ensure_local_key(ring, file) is None

    def test_made_again_when_the_file_s_key_does_not_work(self, ring: KeyRing, tmp_path: Path) -> None:
        file = tmp_path / "api-key"
        file.write_text("tercet_of-another-state\n")
        token = ensure_local_key(ring, file)
        assert token is not None
        assert ring.authenticate(f"Bearer {file.read_text().strip()}").tenant == "default"


class TestRates:
    def test_a_burst_then_a_steady_rate(self, clock: ManualClock) -> None:
        limiter = RateLimiter(embedded(), clock, per_second=2, burst=3)
        for _ in range(3):
            limiter.take("a")
        with pytest.raises(RateLimited) as raised:
            limiter.take("a")
        assert raised.value.retry_after == pytest.approx(0.5, abs=0.01)
        limiter.take("b")
        clock.advance(0.5)
        limiter.take("a")
        with pytest.raises(RateLimited):
            limiter.take("a")
        clock.advance(100)
        for _ in range(3):
            limiter.take("a")
        with pytest.raises(RateLimited):
            limiter.take("a")

    def test_without_redis_nothing_is_refused(self, clock: ManualClock) -> None:
        gone = connect_redis("redis://127.0.0.1:1/0", timeout=0.1)
        RateLimiter(gone, clock, per_second=1, burst=1).take("a")
        RateLimiter(gone, clock, per_second=1, burst=1).take("a")


class TestBudget:
    def test_by_number_and_by_bytes(self) -> None:
        budget = UploadBudget(uploads=2, bytes_=100)
        with budget.hold(60):
            with pytest.raises(Overloaded), budget.hold(50):
                pass
            with budget.hold(40), pytest.raises(Overloaded), budget.hold(0):
                pass
        with budget.hold(1000):  # alone, any size
            pass
        with budget.hold(60), budget.hold(40):
            pass

"""One suite for every blob store that runs here: a local folder and fsspec's memory."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from services.core.errors import Internal, InvalidInput, NotFound, Unavailable
from services.kit.blobs.images import ImageStore
from services.kit.blobs.ports import Blobs
from services.kit.blobs.store import connect
from services.kit.clock import ManualClock
from tercet.v1 import records_pb2

IMAGE_ID = hashlib.sha256(b"original").hexdigest()


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield f"file://{tmp_path}/a root"
        return
    root = f"memory://{uuid.uuid4().hex}/root"
    yield root
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def blobs(url: str) -> Blobs:
    return connect(url)


def test_what_is_put_is_got(blobs: Blobs) -> None:
    for content in (b"", b"bytes", bytes(range(256)) * 1000):
        ref = blobs.put("acme/images/1", content)
        assert ref.sha256 == hashlib.sha256(content).hexdigest()
        assert ref.size == len(content)
        assert blobs.get("acme/images/1") == content
        assert blobs.fetch(ref) == content


def test_a_claim_check_is_good_in_another_process(url: str) -> None:
    ref = connect(url).put("acme/images/1", b"bytes")
    assert ref.uri.endswith("/acme/images/1")
    assert connect(url).fetch(ref) == b"bytes"


def test_put_replaces(blobs: Blobs) -> None:
    blobs.put("a/b", b"old")
    blobs.put("a/b", b"new")
    assert blobs.get("a/b") == b"new"


def test_unknown_keys(blobs: Blobs) -> None:
    with pytest.raises(NotFound):
        blobs.get("a/b")
    assert not blobs.exists("a/b")
    blobs.delete("a/b")
    assert list(blobs.list("")) == []
    blobs.put("a/b/c", b"")
    with pytest.raises(NotFound):
        blobs.get("a/b")
    assert not blobs.exists("a/b"), "a folder is no blob"


def test_delete_forgets(blobs: Blobs) -> None:
    blobs.put("a/b", b"1")
    assert blobs.exists("a/b")
    blobs.delete("a/b")
    assert not blobs.exists("a/b")
    with pytest.raises(NotFound):
        blobs.get("a/b")


def test_list_is_sorted_and_by_prefix(blobs: Blobs) -> None:
    for key in ("t/b", "t/a/2", "t/a/1", "t/ab", "u/a"):
        blobs.put(key, b"")
    assert list(blobs.list("")) == ["t/a/1", "t/a/2", "t/ab", "t/b", "u/a"]
    assert list(blobs.list("t/")) == ["t/a/1", "t/a/2", "t/ab", "t/b"]
    assert list(blobs.list("t/a")) == ["t/a/1", "t/a/2", "t/ab"]
    assert list(blobs.list("t/a/")) == ["t/a/1", "t/a/2"]
    assert list(blobs.list("none/of/them")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a\\..\\b",
        "a/\x00",
        ".hidden",
        "C:/x",
        "é" * 600,
    ],
)
def test_keys_that_leave_the_root_are_refused(blobs: Blobs, key: str) -> None:
    for operation in (blobs.get, blobs.exists, blobs.delete, lambda k: blobs.put(k, b"")):
        with pytest.raises(InvalidInput):
            operation(key)
    with pytest.raises(InvalidInput):
        list(blobs.list(f"../{key}/"))


def test_a_claim_check_that_does_not_match_is_refused(blobs: Blobs) -> None:
    ref = blobs.put("a/b", b"right")
    blobs.put("a/b", b"wrong")
    with pytest.raises(Internal, match="checked in"):
        blobs.fetch(ref)


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "memory://elsewhere/a", "", "http://169.254.169.254/x"]
)
def test_a_claim_check_for_elsewhere_is_refused(blobs: Blobs, uri: str) -> None:
    with pytest.raises(Internal, match="not below"):
        blobs.fetch(records_pb2.BlobRef(uri=uri, sha256="", size=0))


def test_a_claim_check_cannot_climb_out_of_the_root(blobs: Blobs) -> None:
    ref = blobs.put("a/b", b"right")
    ref.uri = ref.uri.replace("a/b", "../../etc/passwd")
    with pytest.raises(InvalidInput):
        blobs.fetch(ref)


def test_readers_see_the_old_or_the_new_content_never_a_part(blobs: Blobs) -> None:
    contents = [bytes([value]) * 300_000 for value in range(4)]
    blobs.put("a/b", contents[0])
    stop = threading.Event()

    def read() -> set[bytes]:
        seen: set[bytes] = set()
        while not stop.is_set():
            seen.add(blobs.get("a/b"))
        return seen

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        for content in contents * 5:
            blobs.put("a/b", content)
        stop.set()
        assert set().union(*(reader.result(20) for reader in reading)) <= set(contents)


def test_half_written_files_do_not_show(tmp_path: Path) -> None:
    blobs = connect(f"file://{tmp_path}")
    blobs.put("a/b", b"1")
    (tmp_path / "a" / ".b.0123.partial").write_bytes(b"ha")
    assert list(blobs.list("")) == ["a/b"]
    assert list(blobs.list("a/")) == ["a/b"]


def test_a_put_that_fails_leaves_the_old_content_and_no_rubbish(tmp_path: Path) -> None:
    blobs = connect(f"file://{tmp_path}", attempts=2, clock=ManualClock())
    blobs.put("a/b", b"old")
    (tmp_path / "a" / "folder").mkdir()
    (tmp_path / "a" / "folder" / "x").write_bytes(b"")
    with pytest.raises((Unavailable, NotFound)):
        blobs.put("a/folder", b"a file where a folder is")
    assert blobs.get("a/b") == b"old"
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b", "folder"}


class FailingMemory(MemoryFileSystem):  # type: ignore[misc]
    """fsspec's memory behind a network that fails `failures` times."""

    failures = 0

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        if self.failures:
            type(self).failures -= 1
            raise ConnectionResetError("connection reset by peer")
        return bytes(super().cat_file(path, *args, **kwargs))


def test_transient_failures_are_tried_again_and_then_unavailable() -> None:
    fsspec.register_implementation("flaky", FailingMemory, clobber=True)
    clock = ManualClock()
    started = clock.monotonic()
    blobs = connect("flaky://root", attempts=3, clock=clock)
    blobs.put("a/b", b"1")
    FailingMemory.failures = 2
    assert blobs.get("a/b") == b"1"
    assert clock.monotonic() > started, "with pauses between"
    FailingMemory.failures = 3
    with pytest.raises(Unavailable, match="connection reset"):
        blobs.get("a/b")
    assert FailingMemory.failures == 0


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(InvalidInput):
        connect("nonsense://bucket")


def image(**fields: Any) -> records_pb2.Image:
    return records_pb2.Image(id=IMAGE_ID, tenant="acme", name="1.png", width=2, height=1, **fields)


def test_images_travel_inline_up_to_the_limit_and_as_claim_checks_above_it(blobs: Blobs) -> None:
    images = ImageStore(blobs, inline_bytes=4)
    small = images.put(image(), b"1234")
    assert small.inline == b"1234"
    assert images.content(small) == b"1234"
    assert blobs.get(f"acme/images/{IMAGE_ID}") == b"1234", "every image is in the store too"
    large = images.put(image(), b"12345")
    assert large.WhichOneof("content") == "blob"
    assert images.content(large) == b"12345"
    assert (large.name, large.width, large.height) == ("1.png", 2, 1)


def test_an_image_without_content_is_found_by_tenant_and_id(blobs: Blobs) -> None:
    images = ImageStore(blobs)
    travelling = images.put(image(), b"1234")
    named = images.without_content(travelling)
    assert named.WhichOneof("content") is None
    assert travelling.inline == b"1234", "the original is left as it is"
    assert images.content(named) == b"1234"
    foreign = records_pb2.Image(id=IMAGE_ID, tenant="other")
    with pytest.raises(NotFound):
        images.content(foreign)


@pytest.mark.parametrize(
    ("tenant", "image_id"),
    [
        ("", IMAGE_ID),
        ("../acme", IMAGE_ID),
        ("a/b", IMAGE_ID),
        ("acme", "../x"),
        ("acme", IMAGE_ID.upper()),
        ("acme", ""),
    ],
)
def test_image_keys_of_bad_tenants_and_ids_are_refused(tenant: str, image_id: str) -> None:
    with pytest.raises(InvalidInput):
        ImageStore.key(tenant, image_id)

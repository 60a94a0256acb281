"""Compile the protos into the git-ignored root gen/: messages, gRPC classes and typed stubs of both.

`python protos/compile.py` does nothing when neither the protos nor the compilers changed since the last time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent
GENERATED = ROOT.parent / "gen"
_STAMP = "compiled.sha256"
_COMPILERS = ("grpcio-tools", "mypy-protobuf")


def sources() -> list[Path]:
    """Every .proto file, in the order of their names."""
    return sorted((ROOT / "tercet").rglob("*.proto"))


def fingerprint() -> str:
    """Changes with any proto, with this script and with the version of a compiler."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for compiler in _COMPILERS:
        digest.update(f"{compiler} {metadata.version(compiler)}\n".encode())
    for source in sources():
        digest.update(f"{source.relative_to(ROOT)}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def compile_protos(target: Path = GENERATED) -> bool:
    """Make `target` hold the package `tercet.v1` of the present protos; False when it did already.

    Raises RuntimeError when protoc refuses a proto (its reason is on standard error).
    """
    stamp = target / "tercet" / _STAMP
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    target.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the finished package replaces the old one by renaming, never half of it.
    with tempfile.TemporaryDirectory(dir=target, prefix=".compiling-") as scratch:
        _protoc(Path(scratch))
        package = Path(scratch) / "tercet"
        for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
            (folder / "__init__.py").write_text('"""Generated from protos/ by protos/compile.py."""\n')
        (package / "py.typed").touch()
        (package / _STAMP).write_text(wanted)
        old = Path(scratch) / "old"
        if (target / "tercet").exists():
            (target / "tercet").rename(old)
        package.rename(target / "tercet")
    return True


def _protoc(output: Path) -> None:
    from grpc_tools import protoc

    # The stub plug-ins are console scripts of this environment, which need not be active.
    scripts = Path(sys.executable).parent
    plugins = {
        name: shutil.which(name, path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
        for name in _PLUGINS
    }
    absent = [name for name, path in plugins.items() if path is None]
    if absent:
        raise RuntimeError(f"{', '.join(absent)} of mypy-protobuf is not installed: run `make setup`")
    arguments = [
        "protoc",
        f"--proto_path={ROOT}",
        f"--proto_path={resources.files('grpc_tools') / '_proto'}",
        *(f"--plugin={name}={path}" for name, path in plugins.items()),
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
        *(str(source) for source in sources()),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed")


_PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")

if __name__ == "__main__":
    try:
        print("protos compiled into gen/" if compile_protos() else "protos are up to date")
    except RuntimeError as error:
        sys.exit(f"error: {error}")

"""`python -m services.verifier`: the verifier as a process of its own."""

from __future__ import annotations

from services.kit.process import run
from services.verifier.bootstrap import build
from services.verifier.settings import VerifierSettings

if __name__ == "__main__":
    run("verifier", VerifierSettings, build)

"""`python -m services.proposer`: the proposer as a process of its own."""

from __future__ import annotations

from services.kit.process import run
from services.proposer.bootstrap import build
from services.proposer.settings import ProposerSettings

if __name__ == "__main__":
    run("proposer", ProposerSettings, build)

"""`python -m services.mining`: the mining service as a process; `... rebuild` makes its Redis view again."""

from __future__ import annotations

from services.kit.process import run
from services.mining.bootstrap import build
from services.mining.settings import MiningSettings

if __name__ == "__main__":
    run("mining", MiningSettings, build)

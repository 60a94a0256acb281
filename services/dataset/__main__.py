"""`python -m services.dataset`: the dataset service as a process; `... rebuild` makes its view again."""

from __future__ import annotations

from services.dataset.bootstrap import build
from services.dataset.settings import DatasetSettings
from services.kit.process import run

if __name__ == "__main__":
    run("dataset", DatasetSettings, build)

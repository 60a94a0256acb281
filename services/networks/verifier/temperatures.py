"""The calibration of a verifier's answers: by task, what its logits are divided by before the softmax (Guo et
al., 2017), as `temperatures` of its directory's `tercet.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.networks.errors import ModelError
from services.networks.pretrained import number_of
from services.networks.verifier.architecture import TASKS

LEAST, MOST = 1e-3, 1e3
"""Beyond these an answer is all or nothing, or says nothing; far beyond, logits overflow."""


def read_temperatures(path: Path, content: Mapping[str, Any]) -> dict[str, float]:
    """Those of each task, 1 where none is given. Raises `ModelError` naming the file for what is none."""
    given = content.get("temperatures", {})
    if not isinstance(given, dict) or not given.keys() <= set(TASKS):
        raise ModelError(
            f"{path}: temperatures must be an object of numbers by task ({', '.join(TASKS)})", invalid=False
        )
    return {
        task: number_of(path, given, task, 1.0, least=LEAST, most=MOST, what=f"the temperature of {task}")
        for task in TASKS
    }

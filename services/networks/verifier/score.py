"""The score's calibration, kept beside the verifier's weights and told with every answer.

`score` of the folder's `tercet.json` holds tables `positive` and `negative`, each a list of [raw score, share
of right pairs], both rising (`services.core.scoring`). They belong to these weights, so a promotion or a
rollback takes them along, and a service that scores needs no file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.core.errors import InvalidInput
from services.core.scoring import Calibration
from services.networks.errors import ModelError

SIDES = ("positive", "negative")
FILE = "tercet.json"


@dataclass(frozen=True)
class ScoreTables:
    """Tables FP32 [K, 2] of (raw score, share of right pairs)."""

    positive: npt.NDArray[np.float32]
    negative: npt.NDArray[np.float32]

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """As the model answers them."""
        return {f"{side}_calibration": getattr(self, side) for side in SIDES}


def read_tables(folder: Path) -> ScoreTables | None:
    """The folder's tables; None where it has none. Raises `ModelError` naming a file that is wrong."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8")).get("score") or {}
        if not told:
            return None
        tables = [[(float(raw), float(share)) for raw, share in told[side]] for side in SIDES]
        for table in tables:
            Calibration.of(table)
    except (InvalidInput, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise ModelError(
            f"{path}: its score calibration cannot be read ({fault}); run "
            "`python -m services.trainer calibrate-score` or take `score` out",
            invalid=False,
        ) from fault
    return ScoreTables(*(np.array(table, np.float32).reshape(-1, 2) for table in tables))


def write_tables(
    folder: Path,
    tables: Mapping[str, Sequence[tuple[float, float]]],
    measured: Mapping[str, Any],
) -> Path:
    """Put the tables, and what they were measured on, into the folder's file; what else it says stays."""
    path = folder / FILE
    said = json.loads(path.read_text("utf-8")) if path.exists() else {}
    said["score"] = {
        **{side: [[round(raw, 6), round(share, 6)] for raw, share in tables[side]] for side in SIDES},
        "measured": dict(measured),
    }
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    fresh.replace(path)
    return path

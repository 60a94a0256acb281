"""Directories as transformers saves them, loaded without network access and checked before they serve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import logging

from services.networks.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file. Raises `ModelError` if it is not JSON."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as fault:
        raise ModelError(f"{path} is not JSON: {fault}", invalid=False) from fault


def load_directory(kind: Any, folder: Path, model_type: str) -> tuple[Any, Any]:
    """The network (class `kind`, fp32, evaluation mode, plain attention) and the tokenizer of a directory.

    Raises `ModelError` naming what is missing, broken or of another architecture. Attention is plain
    because with few wide heads it is faster than the fused kernel on a CPU.
    """
    config = read_json(folder / "config.json")
    if not config:
        raise ModelError(
            f"{folder} has no config.json: not a directory that transformers saved", invalid=False
        )
    if config.get("model_type") != model_type:
        raise ModelError(
            f"{folder} holds a {config.get('model_type')!r} model; {model_type!r} is needed", invalid=False
        )
    silence: Callable[[], None] = logging.disable_progress_bar
    silence()
    try:
        network, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            output_loading_info=True,
            dtype="float32",
            attn_implementation="eager",
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as fault:  # transformers raises many kinds for a damaged directory
        raise ModelError(f"{folder} cannot be loaded as {model_type}: {fault}", invalid=False) from fault
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        first = missing or sorted(str(key) for key in report["mismatched_keys"])
        raise ModelError(
            f"{folder} lacks weights of its {model_type}, the first is {first[0]}", invalid=False
        )
    broken = [name for name, value in network.named_parameters() if not value.isfinite().all()]
    if broken:
        raise ModelError(f"{folder} holds NaN or infinity in {broken[0]}", invalid=False)
    return network.eval(), tokenizer

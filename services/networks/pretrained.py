"""Directories as transformers saves them, loaded without network access and checked before they serve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer
from transformers.utils import logging

from services.networks.checkpoints import check_file, weight_files
from services.networks.errors import ModelError

WHOLE = "copy the whole directory, as the model and its processor were saved by save_pretrained"
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file. Raises `ModelError` if it is not JSON."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError) as fault:
        raise ModelError(f"{path} is not a JSON object: {fault}", invalid=False) from fault


def architecture_of(folder: Path) -> str:
    """The `model_type` of a directory. Raises `ModelError` where there is none."""
    if not folder.is_dir():
        raise ModelError(f"directory {folder} does not exist", invalid=False)
    config = read_json(folder / "config.json")
    if not config:
        raise ModelError(
            f"{folder} has no config.json: not a directory that transformers saved; {WHOLE}", invalid=False
        )
    return str(config.get("model_type"))


def load_network(kind: Any, folder: Path, *model_types: str) -> Any:
    """The network of class `kind`, fp32, in evaluation mode, of a directory of one of these `model_type`s.

    Raises `ModelError` naming what is missing, broken or of another architecture.
    """
    found = architecture_of(folder)
    if found not in model_types:
        raise ModelError(
            f"{folder} holds a {found!r} model; {' or '.join(map(repr, model_types))} is needed",
            invalid=False,
        )
    silence: Callable[[], None] = logging.disable_progress_bar
    silence()
    try:
        network, report = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype="float32"
        )
    except Exception as fault:  # transformers raises many kinds for a damaged directory
        for file in weight_files(folder):
            check_file(file)
        raise ModelError(f"{folder} cannot be loaded as {found}: {fault}; {WHOLE}", invalid=False) from fault
    missing = sorted(report["missing_keys"]) or sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise ModelError(
            f"{folder} lacks weights of its {found}, the first is {missing[0]} ({len(missing)} in all); its "
            f"config.json belongs to other weights: {WHOLE}",
            invalid=False,
        )
    broken = [name for name, value in network.state_dict().items() if not bool(value.isfinite().all())]
    if broken:
        raise ModelError(f"{folder} holds NaN or infinity in {broken[0]}; fetch it again", invalid=False)
    return network.eval()


def load_tokenizer(folder: Path) -> Any:
    """The directory's tokenizer. Raises `ModelError` where there is none or it is damaged."""
    if not any((folder / name).exists() for name in TOKENIZERS):
        raise ModelError(f"{folder} has no tokenizer ({', '.join(TOKENIZERS)}); {WHOLE}", invalid=False)
    load: Callable[..., Any] = AutoTokenizer.from_pretrained
    try:
        return load(folder, local_files_only=True, trust_remote_code=False)
    except Exception as fault:
        raise ModelError(
            f"the tokenizer of {folder} cannot be loaded ({fault}); {WHOLE}", invalid=False
        ) from fault


def load_image_processor(folder: Path) -> Any:
    """How the directory wants images prepared. Raises `ModelError` where it does not say."""
    if not any((folder / name).exists() for name in ("processor_config.json", "preprocessor_config.json")):
        raise ModelError(
            f"{folder} has no processor (processor_config.json or preprocessor_config.json); {WHOLE}",
            invalid=False,
        )
    load: Callable[..., Any] = AutoImageProcessor.from_pretrained
    try:
        return load(folder, local_files_only=True, trust_remote_code=False)
    except Exception as fault:
        raise ModelError(
            f"the processor of {folder} cannot be loaded ({fault}); {WHOLE}", invalid=False
        ) from fault


def load_directory(kind: Any, folder: Path, model_type: str) -> tuple[Any, Any]:
    """The network and the tokenizer of a directory; see `load_network`."""
    return load_network(kind, folder, model_type), load_tokenizer(folder)

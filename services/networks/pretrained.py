"""Directories as transformers saves them, loaded without network access and checked before they serve."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"{path} is not a JSON object: {fault}", invalid=False) from fault
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object", invalid=False)
    return content


def number_of(
    path: Path,
    content: Mapping[str, Any],
    name: str,
    default: float,
    *,
    least: float,
    most: float,
    what: str = "",
) -> float:
    """A number of what a JSON file holds; the default where it holds none of that name. Raises `ModelError`,
    which calls it `what` or by its name, unless it is one from `least` to `most`.
    """
    value = content.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ModelError(
            f"{path}: {what or name} must be a number from {least:g} to {most:g}, not {value!r}",
            invalid=False,
        )
    return float(value)


def require_directory(folder: Path) -> None:
    """Raise `ModelError` unless there is such a directory."""
    if not folder.is_dir():
        fault = "is a file, not a directory" if folder.exists() else "does not exist"
        raise ModelError(f"directory {folder} {fault}; name the model's whole directory", invalid=False)


def architecture_of(folder: Path) -> str:
    """The `model_type` of a directory. Raises `ModelError` where there is none."""
    require_directory(folder)
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
            folder,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            dtype="float32",
        )
    except Exception as fault:  # transformers raises many kinds for a damaged directory
        for file in weight_files(folder):
            check_file(file)
        raise ModelError(f"{folder} cannot be loaded as {found}: {fault}; {WHOLE}", invalid=False) from fault
    require_whole(folder, found, report)
    broken = [name for name, value in network.state_dict().items() if not bool(value.isfinite().all())]
    if broken:
        raise ModelError(f"{folder} holds NaN or infinity in {broken[0]}; fetch it again", invalid=False)
    return network.eval()


def require_whole(folder: Path, found: str, report: Mapping[str, Any]) -> None:
    """Raise `ModelError` where transformers' loading report of a directory, a `found`, tells of weights that
    are missing or of another shape than its config.json describes.
    """
    missing = sorted(report["missing_keys"])
    shapes = sorted(
        f"{name} has shape {tuple(shape)}, not {tuple(wanted)}"
        for name, shape, wanted in report["mismatched_keys"]
    )
    told = []
    if missing:
        told.append(f"lacks weights of its {found}, the first is {missing[0]} ({len(missing)} in all)")
    if shapes:
        told.append(f"has weights of another {found}, the first is {shapes[0]} ({len(shapes)} in all)")
    if told:
        raise ModelError(
            f"{folder} {' and '.join(told)}; its config.json belongs to other weights: {WHOLE}", invalid=False
        )


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


def padded_tokens(tokenizer: Any, texts: Sequence[str], length: int) -> Any:
    """Token ids and attention [N, length] of texts, cut or padded to that length. They are read as text: a
    `<eos>` within one is three signs, not the end.
    """
    return tokenizer(
        list(texts),
        padding="max_length",
        max_length=length,
        truncation=True,
        split_special_tokens=True,
        return_tensors="pt",
    )


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

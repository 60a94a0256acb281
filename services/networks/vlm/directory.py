"""A public vision-language model as transformers saves it: loaded without network access and without running
code from the directory, and checked before it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from services.networks.checkpoints import check_file, fingerprint, weight_files
from services.networks.errors import ModelError
from services.networks.pretrained import read_json, require_directory, require_whole
from services.networks.verifier.temperatures import read_temperatures

EXTRA = "tercet.json"
_WHOLE = "copy the whole directory, or AutoProcessor.from_pretrained(NAME).save_pretrained(FOLDER)"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Directory:
    """What a directory holds, ready to serve; `temperatures` of the three tasks, 1 where none is given."""

    folder: Path
    network: Any
    processor: Any
    template: str
    version: str
    temperatures: dict[str, float]
    apart: bool | None


def load_directory(folder: Path, device: torch.device, dtype: torch.dtype) -> Directory:
    """Load a directory of any architecture that transformers lists for image-text-to-text.

    Raises `ModelError` naming the file that is missing or broken and the fix.
    """
    require_directory(folder)
    model_type = _check_files(folder)
    extra = read_json(folder / EXTRA)
    temperatures = read_temperatures(folder / EXTRA, extra)
    version = f"{extra.get('name', model_type)}-{fingerprint(folder)}"
    processor, template = _load_processor(folder)
    network = _load_network(folder, model_type, device, dtype)
    apart = {"apart": True, "together": False}.get(str(extra.get("crops")))
    if "crops" in extra and apart is None:
        raise ModelError(f'{folder / EXTRA}: crops must be "apart" or "together"', invalid=False)
    return Directory(folder, network, processor, template, version, temperatures, apart)


def _check_files(folder: Path) -> str:
    """The model's type. Raises for what is not there."""
    config = read_json(folder / "config.json")
    if not config:
        raise ModelError(
            f"{folder} has no config.json: not a directory that transformers saved", invalid=False
        )
    model_type = str(config.get("model_type"))
    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(
            f"{folder / 'config.json'} describes a {model_type!r} model, which this version of transformers "
            "does not know as image-text-to-text; choose a vision-language model such as LLaVA, Qwen2.5-VL, "
            "Qwen3-VL or Llama 3.2 Vision",
            invalid=False,
        )
    if not any((folder / name).exists() for name in _PROCESSOR_FILES):
        raise ModelError(f"{folder} has no {' or '.join(_PROCESSOR_FILES)}; {_WHOLE}", invalid=False)
    if not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise ModelError(f"{folder} has no {' or '.join(_TOKENIZER_FILES)}; {_WHOLE}", invalid=False)
    return model_type


def _load_processor(folder: Path) -> tuple[Any, str]:
    """The processor, its tokenizer padding on the left as generation needs it, and the chat template."""
    load: Callable[..., Any] = AutoProcessor.from_pretrained
    try:
        processor = load(folder, local_files_only=True, trust_remote_code=False)
    except Exception as fault:  # transformers raises many kinds for a damaged directory
        raise ModelError(
            f"the processor of {folder} cannot be loaded ({fault}); {_WHOLE}", invalid=False
        ) from fault
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        missing = "tokenizer" if tokenizer is None else "image processor"
        raise ModelError(f"{folder} has no {missing} beside its model; {_WHOLE}", invalid=False)
    template = processor.chat_template or tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise ModelError(
            f"{folder} has no chat_template.jinja (nor chat_template.json, nor a chat_template in "
            f"tokenizer_config.json), so nobody knows how it is spoken to; {_WHOLE}, or choose the "
            "instruction-tuned model instead of the base model",
            invalid=False,
        )
    if getattr(processor, "patch_size", 0) is None:
        raise ModelError(
            f"the processor of {folder} names no patch_size, so nobody knows how many tokens an image takes; "
            "add patch_size and vision_feature_select_strategy of config.json to processor_config.json",
            invalid=False,
        )
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"{folder / 'tokenizer_config.json'} names neither a pad_token nor an eos_token; add one",
            invalid=False,
        )
    return processor, str(template)


def _load_network(folder: Path, model_type: str, device: torch.device, dtype: torch.dtype) -> Any:
    silence: Callable[[], None] = logging.disable_progress_bar
    silence()
    load: Callable[..., Any] = AutoModelForImageTextToText.from_pretrained
    try:
        network, report = load(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            dtype=dtype,
        )
    except Exception as fault:  # transformers raises many kinds for a damaged directory
        for file in weight_files(folder):
            check_file(file)
        raise ModelError(
            f"{folder} cannot be loaded as {model_type}: {fault}; {_WHOLE}", invalid=False
        ) from fault
    require_whole(folder, model_type, report)
    broken = [name for name, value in network.named_parameters() if not bool(value.isfinite().all())]
    if broken:
        raise ModelError(f"{folder} holds NaN or infinity in {broken[0]}; fetch it again", invalid=False)
    # What the directory says of sampling and of penalties is for chat; only where a text ends is kept.
    given = network.generation_config
    config: Callable[..., GenerationConfig] = GenerationConfig
    network.generation_config = config(
        bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id, pad_token_id=given.pad_token_id
    )
    return network.to(device).eval()

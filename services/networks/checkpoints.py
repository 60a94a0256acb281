"""Weights on disk: safetensors (half precision, ours) and PyTorch files, loaded without running pickled
code.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from services.networks.errors import ModelError

Tensors = dict[str, torch.Tensor]

_LOG = logging.getLogger(__name__)


def weight_files(folder: Path) -> list[Path]:
    """The weights in a folder, in order of name."""
    return sorted(file for file in folder.iterdir() if file.suffix in {".safetensors", ".bin", ".pth", ".pt"})


def fingerprint(path: Path, *others: Path) -> str:
    """First 8 hex digits of the SHA-256 of a weights file, or of all weight files of a folder in order of
    name, and of other files that belong to it. The whole hash is logged.
    """
    files = [path] if path.is_file() else weight_files(path)
    if not files:
        raise ModelError(f"{path} holds no weights (.safetensors, .bin, .pth)", invalid=False)
    files += others
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    _LOG.info("weights %s have SHA-256 %s", path, digest.hexdigest())
    return digest.hexdigest()[:8]


def read_tensors(path: Path) -> Tensors:
    """The tensors of a .safetensors, .bin, .pth or .pt file, on the CPU: dense, of real numbers. Raises
    `ModelError` naming the file and the fault.

    Archives of torch are mapped, not read: the largest SAM takes no memory twice.
    """
    if not path.is_file():
        raise ModelError(f"weights file {path} does not exist", invalid=False)
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        )
    except pickle.UnpicklingError as fault:
        raise ModelError(
            f"{path} holds pickled code, not only tensors, or is damaged; no code was run. Save its "
            "state_dict(), or fetch it again",
            invalid=False,
        ) from fault
    except MemoryError:
        raise
    except Exception as fault:  # torch's unpickler raises many kinds for a damaged file
        raise ModelError(
            f"{path} is damaged or truncated ({fault!r}); fetch it again", invalid=False
        ) from fault
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ModelError(
            f"{path} is not a state_dict of tensors; save the network's state_dict() alone", invalid=False
        )
    for name, value in loaded.items():
        if value.layout != torch.strided or value.is_complex() or value.is_quantized or value.is_meta:
            raise ModelError(
                f"{path} holds in {name} no dense tensor of real numbers, but {value.dtype} laid out as "
                f"{value.layout}; save the network's state_dict() with plain weights",
                invalid=False,
            )
    return loaded


def check_file(path: Path) -> None:
    """Raise the `ModelError` of `read_tensors` for a file that cannot be read, reading little of it."""
    if path.suffix != ".safetensors":
        read_tensors(path)
        return
    try:
        with safe_open(path, "pt"):
            pass
    except (SafetensorError, OSError) as fault:
        raise ModelError(
            f"{path} is damaged or truncated ({fault}); fetch it again", invalid=False
        ) from fault


def load_into(network: nn.Module, path: Path) -> None:
    """Load a file's tensors into a network of exactly that architecture."""
    tensors = read_tensors(path)
    wanted = network.state_dict()
    wrong = sorted(
        [f"{name} is missing" for name in wanted.keys() - tensors.keys()]
        + [f"{name} is not part of the network" for name in tensors.keys() - wanted.keys()]
        + [
            f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
            for name in wanted.keys() & tensors.keys()
            if tensors[name].shape != wanted[name].shape
        ]
    )
    if wrong:
        raise ModelError(
            f"{path} is of another architecture: {wrong[0]} ({len(wrong)} such faults); "
            "choose the registry name that the checkpoint was made with",
            invalid=False,
        )
    broken = [
        name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise ModelError(f"{path} holds NaN or infinity in {broken[0]}; fetch it again", invalid=False)
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in tensors.items()})


def save_half(network: nn.Module, path: Path) -> None:
    """Write the network's tensors as half-precision safetensors."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)

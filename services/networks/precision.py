"""Which device, number format and attention the networks compute with. The CPU is asked first: bf16 without
AVX512-BF16 is emulated and about twenty times slower than fp32, with it about twice as fast.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from services.networks.errors import ModelError

DEVICES = re.compile(r"cpu|cuda(:\d{1,3})?")
Precision = Literal["auto", "float32", "bfloat16"]
PLAIN_ATTENTION_UP_TO = 1024
"""Tokens. Below, with few wide heads and in bf16, a CPU is quicker without the fused kernel; in fp32 the
kernel takes .5 to .7 of the time (730 and 442 tokens, three heads of 64, AVX2).
"""


@cache
def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 natively (Linux reports it in /proc/cpuinfo; elsewhere the answer is
    no).
    """
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512_bf16" in info.read_text("utf-8", errors="replace")


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises `ModelError` for a device that there is not."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not DEVICES.fullmatch(device):
        raise ModelError(
            f"the device (TERCET_NETWORKS_DEVICE, the parameter `device` or --device) is {device!r}; it must "
            "be auto, cpu, cuda or cuda:N",
            invalid=False,
        )
    chosen = torch.device(device)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if chosen.type == "cuda" and (chosen.index or 0) >= there:
        raise ModelError(
            f"the device (TERCET_NETWORKS_DEVICE, the parameter `device` or --device) is {device}, and torch "
            f"finds {there} CUDA devices here; set auto or cpu, or look at the driver (nvidia-smi)",
            invalid=False,
        )
    return chosen


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """`auto` is bf16 on CUDA and on CPUs that have it, else fp32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    return torch.bfloat16 if device.type == "cuda" or cpu_has_bf16() else torch.float32


def choose_attention(device: torch.device, dtype: torch.dtype, tokens: int) -> str:
    """transformers' name of the attention over this many tokens: the fused kernel, but in bf16 on a CPU
    plain products, as long as they do not take gigabytes.
    """
    plain = device.type == "cpu" and dtype == torch.bfloat16 and tokens <= PLAIN_ATTENTION_UP_TO
    return "eager" if plain else "sdpa"


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Mixed precision in `dtype`; nothing for fp32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)

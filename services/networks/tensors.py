"""Reading and making the tensors of the model contract (no batch dimension; BYTES are object arrays of
bytes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.networks.errors import ModelError

Request = Mapping[str, npt.NDArray[Any]]
Tensors = dict[str, npt.NDArray[Any]]
Answer = Mapping[str, npt.NDArray[Any]]


def bytes_tensor(values: Sequence[bytes | str]) -> npt.NDArray[np.object_]:
    """A BYTES tensor [N]."""
    tensor = np.empty(len(values), np.object_)
    tensor[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return tensor


def read_bytes(request: Request, name: str) -> list[bytes]:
    """The values of a required BYTES tensor."""
    if name not in request:
        raise ModelError(f"tensor {name!r} is missing")
    values = request[name].ravel().tolist()
    return [value.encode() if isinstance(value, str) else bytes(value) for value in values]


def read_one(request: Request, name: str) -> bytes:
    """The value of a required BYTES tensor [1]."""
    values = read_bytes(request, name)
    if len(values) != 1:
        raise ModelError(f"tensor {name!r} must hold one value, not {len(values)}")
    return values[0]


def read_text(request: Request, name: str) -> list[str]:
    """The values of a required BYTES tensor as text."""
    try:
        return [value.decode("utf-8") for value in read_bytes(request, name)]
    except UnicodeDecodeError as fault:
        raise ModelError(f"tensor {name!r} is not UTF-8") from fault


def read_rows(request: Request, name: str, columns: int) -> npt.NDArray[np.float32] | None:
    """An optional FP32 tensor [N, columns]; None if absent or without rows. Raises for other shapes or
    NaN.
    """
    if name not in request or request[name].size == 0:
        return None
    values = np.asarray(request[name], np.float32)
    if values.ndim != 2 or values.shape[1] != columns:
        raise ModelError(f"tensor {name!r} must have shape [N, {columns}], not {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ModelError(f"tensor {name!r} holds NaN or infinity")
    return values


def read_number(request: Request, name: str, default: float) -> float:
    """An optional tensor [1]."""
    if name not in request or request[name].size == 0:
        return default
    if request[name].size != 1:
        raise ModelError(f"tensor {name!r} must hold one value")
    return float(request[name].ravel()[0])


def read_count(request: Request, name: str, default: int, most: int) -> int:
    """An optional whole number 0..most in a tensor [1]."""
    number = read_number(request, name, default)
    if not 0 <= number <= most:
        raise ModelError(f"tensor {name!r} must be 0 to {most}, not {number:g}")
    return int(number)


def read_indices(request: Request, name: str, count: int, below: int) -> npt.NDArray[np.int64]:
    """A required INT32 tensor [count] of indices below `below`; may be absent if count is 0."""
    values = np.asarray(request.get(name, np.zeros(0)), np.int64).ravel()
    if len(values) != count:
        raise ModelError(f"tensor {name!r} must hold {count} values, not {len(values)}")
    if count and (values.min() < 0 or values.max() >= below):
        raise ModelError(f"tensor {name!r} must hold numbers from 0 to {below - 1}")
    return values

"""Weights on disk: public formats load, everything else is refused with the file and the fix named, no
code runs.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from services.networks.checkpoints import fingerprint, load_into, read_tensors, save_half
from services.networks.errors import ModelError
from services.networks.sam.architecture import REGISTRY, build_vit_tiny, load_sam


def small() -> torch.nn.Linear:
    return torch.nn.Linear(3, 2)


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_half_precision_round_trip(tmp_path: Path) -> None:
    network, again = small(), small()
    save_half(network, tmp_path / "w.safetensors")
    load_into(again, tmp_path / "w.safetensors")
    for first, second in zip(network.parameters(), again.parameters(), strict=True):
        assert second.dtype == torch.float32
        assert torch.equal(first.detach().half().float(), second.detach())


def test_pickled_code_is_refused_and_never_run(tmp_path: Path) -> None:
    path, made = tmp_path / "evil.pth", tmp_path / "made-by-the-pickle"
    with path.open("wb") as stream:
        pickle.dump({"weight": Trap(str(made))}, stream, protocol=2)
    with pytest.raises(ModelError, match=r"evil\.pth.*(pickled code|damaged)"):
        read_tensors(path)
    torch.save({"weight": Trap(str(made))}, path)
    with pytest.raises(ModelError, match="pickled code"):
        read_tensors(path)
    assert not made.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    tensors = {name: value.detach().clone() for name, value in small().named_parameters()}
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match=f"w{suffix} is damaged or truncated") as caught:
        read_tensors(path)
    assert not caught.value.invalid


@pytest.mark.parametrize("content", [b".", b"h\x05.", b"(lp0\n.", b"<!DOCTYPE html>", b""])
def test_whatever_torch_raises_the_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pth .*damaged.*fetch it again") as caught:
        read_tensors(path)
    assert not caught.value.invalid


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("kind", ["sparse", "complex"])
def test_weights_that_are_no_plain_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    weight = torch.eye(2, 3)
    odd = weight.to_sparse() if kind == "sparse" else weight.to(torch.complex64)
    torch.save({"weight": odd, "bias": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=rf"w\.pth holds in weight no dense tensor .*{kind}") as caught:
        load_into(small(), tmp_path / "w.pth")
    assert not caught.value.invalid


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pth does not exist"):
        read_tensors(tmp_path / "none.pth")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    save_half(torch.nn.Linear(4, 2), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"another architecture.*shape"):
        load_into(small(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="another architecture"):
        load_sam("vit_tiny", tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"vit_z.*vit_tiny"):
        load_sam("vit_z", tmp_path / "w.safetensors")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    network = small()
    with torch.no_grad():
        network.weight[0, 0] = torch.nan
    save_half(network, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="NaN or infinity in weight"):
        load_into(small(), tmp_path / "w.safetensors")


def test_sam_loads_from_a_public_style_pth(tmp_path: Path) -> None:
    network = build_vit_tiny()
    torch.save(network.state_dict(), tmp_path / "sam_vit_tiny.pth")
    loaded = load_sam("vit_tiny", tmp_path / "sam_vit_tiny.pth")
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert set(REGISTRY) == {"vit_tiny", "vit_b", "vit_l", "vit_h"}


def test_a_fingerprint_changes_with_the_weights(tmp_path: Path) -> None:
    save_half(small(), tmp_path / "a.safetensors")
    first = fingerprint(tmp_path / "a.safetensors")
    assert first == fingerprint(tmp_path)
    assert len(first) == 8
    save_half(small(), tmp_path / "a.safetensors")
    assert fingerprint(tmp_path / "a.safetensors") != first

"""Networks that started from the grounder follow what it learns."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from services.trainer.following import follow_grounder, start_from_grounder


def tower() -> nn.Module:
    return nn.ModuleDict({"first": nn.Linear(2, 2), "own": nn.Linear(2, 3)})


def saved(path: Path, value: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"tower.first.weight": (2, 2), "tower.own.weight": (4, 4), "tower.other": (2,), "head": (2, 2)}
    save_file({name: torch.full(size, value, dtype=torch.float16) for name, size in shape.items()}, path)
    return path


def test_a_network_starts_from_what_both_have(tmp_path: Path) -> None:
    network, untouched = tower(), tower()
    untouched.load_state_dict(network.state_dict())
    start_from_grounder(network, tmp_path, "tower.")
    assert torch.equal(network.state_dict()["first.weight"], untouched.state_dict()["first.weight"])
    saved(tmp_path / "concept_grounder" / "1" / "model.safetensors", 0.5)
    start_from_grounder(network, tmp_path, "tower.")
    assert torch.equal(network.state_dict()["first.weight"], torch.full((2, 2), 0.5))
    for name in ("first.bias", "own.weight", "own.bias"):
        assert torch.equal(network.state_dict()[name], untouched.state_dict()[name])


def test_it_takes_a_share_of_the_difference_and_keeps_its_own(tmp_path: Path) -> None:
    network = tower()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    old, new = saved(tmp_path / "old.safetensors", 0.5), saved(tmp_path / "new.safetensors", 2.5)
    assert follow_grounder(network, old, new, 0.25, "tower.") == 1
    torch.testing.assert_close(network.state_dict()["first.weight"], before["first.weight"] + 0.5)
    for name in ("first.bias", "own.weight", "own.bias"):
        assert torch.equal(network.state_dict()[name], before[name])

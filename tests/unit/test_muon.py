from __future__ import annotations

import pytest
import torch
from torch import nn

from services.networks import precision
from services.trainer.muon import Muon, orthogonal


def _matrices() -> list[nn.Parameter]:
    torch.manual_seed(4)
    return [nn.Parameter(torch.randn(shape)) for shape in ((64, 96), (96, 64), (64, 96))]


def test_steps_are_those_of_torchs_muon() -> None:
    ours, theirs = _matrices(), _matrices()
    made = [
        Muon(ours, lr=0.01, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(3):
        for first, second in zip(ours, theirs, strict=True):
            first.grad = torch.randn_like(first)
            second.grad = first.grad.clone()
        for optimiser in made:
            optimiser.step()
    for first, second, start in zip(ours, theirs, _matrices(), strict=True):
        # torch's works in bf16, which has three digits.
        apart, moved = (first - second).detach().norm(), (second - start).detach().norm()
        assert float(apart / moved) < 0.02
    assert made[0].state_dict()["state"].keys() == made[1].state_dict()["state"].keys()
    made[1].load_state_dict(made[1].state_dict() | {"state": made[0].state_dict()["state"]})


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(5)
    for shape in ((2, 64, 160), (2, 160, 64)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape), torch.float32))
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.3


@pytest.mark.parametrize("native", [False, True])
def test_the_cpu_is_asked_for_the_number_format(monkeypatch: pytest.MonkeyPatch, *, native: bool) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: native)
    assert orthogonal(torch.randn(1, 8, 8)).dtype == (torch.bfloat16 if native else torch.float32)


def test_a_matrix_without_a_gradient_stays() -> None:
    still, moved = nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8, 8))
    moved.grad = torch.eye(8)
    Muon([still, moved], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(still, torch.ones(8, 8))
    assert not torch.equal(moved, torch.ones(8, 8))

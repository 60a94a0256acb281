"""Networks that have the grounder's tower: starting from it, and following what it learns later."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from services.networks.checkpoints import read_tensors


def start_from_grounder(network: nn.Module, repository: Path, prefix: str) -> None:
    """Copy the exported grounder's tensors under `prefix` into a network of the same layout, as far as both
    have them; nothing where there is no exported grounder.
    """
    weights = repository / "concept_grounder" / "1" / "model.safetensors"
    if weights.exists():
        _replace(network, _shared(network, weights, prefix))


def follow_grounder(network: nn.Module, before: Path, after: Path, share: float, prefix: str) -> int:
    """Add to a network that started from one grounder's file `share` of what the grounder has learnt until
    the other file, and say to how many tensors: task arithmetic (Ilharco et al., 2023, "Editing models with
    task arithmetic"). Raises `ModelError` for a file that is missing or damaged.
    """
    old, new = _shared(network, before, prefix), _shared(network, after, prefix)
    own = network.state_dict()
    learnt = {name: value - old[name] for name, value in new.items() if name in old}
    _replace(network, {name: own[name] + share * step.to(own[name]) for name, step in learnt.items()})
    return len(learnt)


def _shared(network: nn.Module, weights: Path, prefix: str) -> dict[str, Tensor]:
    """The grounder's tensors by the names that the network has for them, float32, where the shapes agree."""
    own, found = network.state_dict(), {}
    for name, value in read_tensors(weights).items():
        if not name.startswith(prefix):
            continue
        name = name.removeprefix(prefix)
        # transformers' CLIP spells this layer so.
        name = name.replace("pre_layernorm", "pre_layrnorm") if "pre_layrnorm.weight" in own else name
        if name in own and own[name].shape == value.shape and value.is_floating_point():
            found[name] = value.float()
    return found


def _replace(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    network.load_state_dict(network.state_dict() | tensors)

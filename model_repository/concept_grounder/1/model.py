"""The concept grounder on Triton: tensors in, tensors out. The network is in services/networks."""

from __future__ import annotations

from services.networks.triton import TritonModel


class TritonPythonModel(TritonModel):
    """Triton looks this class up by its name."""

    network = "concept_grounder"

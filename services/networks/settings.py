"""Which networks serve, from where, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.networks.errors import ModelError
from services.networks.precision import Precision

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"

PREFIX = "TERCET_NETWORKS_"
"""Of the settings' names in the environment."""

Kind = Literal["auto", "bundled", "vlm"]


class NetworkSettings(BaseSettings):
    """Settings of the served networks."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    repository: Path = Field(REPOSITORY, description="model repository that holds the bundled weights")
    device: str = Field("auto", description="auto (CUDA where there is one), cpu, cuda or cuda:N")
    precision: Precision = Field(
        "auto", description="auto (bf16 where the hardware has it), float32 or bfloat16"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; its own choice by default")
    sam: str = Field("vit_tiny", description="SAM's registry name: vit_tiny, vit_b, vit_l or vit_h")
    sam_weights: Path | None = Field(
        None, description=".safetensors or public .pth of SAM; the bundled one by default"
    )
    concept_grounder_weights: Path | None = Field(
        None,
        description="directory of OWLv2, GroundingDINO or SAM 3 (which answers masks too: set "
        "TERCET_CONCEPT_SEGMENTER=text_prompted as well); the bundled OWLv2 by default",
    )
    concept_proposer_weights: Path | None = Field(
        None, description="proposer's directory; the bundled one by default"
    )
    concept_proposer: Kind = Field(
        "auto", description="bundled, vlm (a public vision-language model) or auto (told by the directory)"
    )
    verifier_weights: Path | None = Field(
        None, description="verifier's directory; the bundled one by default"
    )
    verifier: Kind = Field(
        "auto", description="bundled, vlm (a public vision-language model) or auto (told by the directory)"
    )
    vlm_batch: int = Field(8, ge=1, description="questions that a vision-language model answers at once")
    vlm_tokens: int = Field(
        1024, ge=16, description="most tokens that a vision-language model writes for an image"
    )
    vlm_temperature: float = Field(
        0.0, ge=0, description="sampling temperature of written answers; 0 is greedy and deterministic"
    )
    vlm_longest_side: int = Field(
        1024, ge=56, description="larger images are shrunk to it before a vision-language model sees them"
    )
    vlm_prompts: Path | None = Field(
        None,
        description="folder with prompts of your own (propose.md, mv.md, ev.md, nv.md); a missing one "
        "is the bundled one",
    )
    embeddings_kept: int = Field(
        64,
        ge=0,
        description="image embeddings kept by SAM, and by OWLv2, least recently used first out",
    )
    sam_encoder: Literal["torch", "openvino"] = Field(
        "torch", description="what runs SAM's image encoder: torch, or openvino (CPU; the extra `openvino`)"
    )
    sam_compiled: bool = Field(
        False, description="compile SAM's image encoder by torch.compile: minutes at start-up, faster after"
    )
    sam_prompts_at_once: int | None = Field(
        None, ge=1, description="prompts that SAM decodes together; 64 on a CPU and 1024 on CUDA by default"
    )
    sam_predicted_iou: float | None = Field(
        None,
        ge=0,
        le=1,
        description="everything-mode keeps masks whose predicted IoU is above it; 0.8 by default, 0.7 for "
        "the bundled vit_tiny",
    )
    sam_stability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="everything-mode keeps masks at least so stable; 0.9 by default, 0.8 for vit_tiny",
    )
    sam_mask_overlap: float | None = Field(
        None,
        gt=0,
        le=1,
        description="everything-mode also drops masks whose IoU with a better one is above it; by default "
        "boxes alone are compared, as segment-anything does",
    )
    sam_keeps_memory: bool = Field(
        True,
        description="on a CPU, memory that the process frees is kept for its next request, not given back to "
        "the kernel: about twice as fast, but the process stays as large as it once was",
    )
    sam3_phrases: int = Field(8, ge=1, description="phrases that SAM 3 looks for in an image at once")
    sam3_images_kept: int = Field(
        2, ge=0, description="images whose features SAM 3 keeps, each about 250 MB, least recently used out"
    )
    grounder_threshold: float | None = Field(
        None, ge=0, le=1, description="default score threshold; else the weights'"
    )

    def weights(self, model: str, file: str = "") -> Path:
        """The weights of a model: the setting's, or those bundled in the repository (`file` within its
        version).
        """
        chosen: Path | None = getattr(self, f"{model}_weights")
        return chosen or self.repository / model / "1" / file


def read_settings() -> NetworkSettings:
    """The environment's. Raises `ModelError` naming the variables at fault."""
    try:
        return NetworkSettings()
    except ValidationError as fault:
        raise ModelError(f"the environment: {faults_of(fault, PREFIX)}", invalid=False) from fault


def faults_of(refused: ValidationError, prefix: str = "") -> str:
    """In one line each setting's name (in capitals after a prefix), what it takes and what it was."""
    told = []
    for fault in refused.errors():
        name = "_".join(str(part) for part in fault["loc"])
        told.append(f"{prefix + name.upper() if prefix else name}: {fault['msg']}, not {fault['input']!r}")
    return "; ".join(told)

"""A generator of drawn scenes with known truth: masks, phrases at three depths and hard negatives."""

from __future__ import annotations

from services.scenes.dataset import write_dataset
from services.scenes.ontology import Ontology, ontology
from services.scenes.phrases import hard_negatives, phrase_of, phrases
from services.scenes.scene import Instance, Scene, make_scene
from services.scenes.settings import SceneSettings

__all__ = [
    "Instance",
    "Ontology",
    "Scene",
    "SceneSettings",
    "hard_negatives",
    "make_scene",
    "ontology",
    "phrase_of",
    "phrases",
    "write_dataset",
]

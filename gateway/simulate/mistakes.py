"""How often the simulated annotators err, and the chance that decides."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.simulate import reading
from services.core.errors import InvalidInput


class Mistakes(BaseModel):
    """The rates; without arguments nobody errs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    miss_instance: float = Field(default=0, ge=0, le=1, description="Overlooks an unmarked instance.")
    accept_wrong_mask: float = Field(default=0, ge=0, le=1, description="Takes a bad mask for good.")
    wrong_label: float = Field(default=0, ge=0, le=1, description="Labels an instance nearly right.")
    wrong_negative: float = Field(
        default=0, ge=0, le=1, description="Mistakes a present phrase for absent, or the reverse."
    )
    sloppy_click: float = Field(default=0, ge=0, le=1, description="Clicks beside the place meant.")
    sloppy_reach: float = Field(
        default=0, ge=0, le=1, description="How far beside: standard deviation, share of the shorter side."
    )
    drawing_error: float = Field(
        default=0, ge=0, description="Pixels by which a drawn outline is too wide or too tight."
    )


PERFECT = Mistakes()


def read_mistakes(path: Path | None = None) -> Mistakes:
    """The bundled rates, with what the file changes. Raises `InvalidInput` naming the field at fault."""
    raw = reading.bundled("mistakes.toml") | (reading.given(path) if path else {})
    try:
        return Mistakes.model_validate(raw)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise InvalidInput(f"{path or 'mistakes.toml'}: {wrong}") from None


def chance(*parts: object) -> np.random.Generator:
    """Random numbers that depend on what they are for alone, not on who is at work or in which order."""
    text = "\x1f".join(map(str, parts))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


class Nature:
    """What goes wrong in one task."""

    def __init__(self, mistakes: Mistakes, rng: np.random.Generator) -> None:
        self.mistakes = mistakes
        self.rng = rng

    def misses(self) -> bool:
        return bool(self.rng.random() < self.mistakes.miss_instance)

    def accepts_wrong_mask(self) -> bool:
        return bool(self.rng.random() < self.mistakes.accept_wrong_mask)

    def mislabels(self) -> bool:
        return bool(self.rng.random() < self.mistakes.wrong_label)

    def misjudges_negative(self) -> bool:
        return bool(self.rng.random() < self.mistakes.wrong_negative)

    def clicked(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        """Where a click lands that was meant for (x, y); inside the image."""
        if self.rng.random() < self.mistakes.sloppy_click:
            dx, dy = self.rng.normal(scale=self.mistakes.sloppy_reach * min(width, height), size=2)
            x, y = x + dx, y + dy
        return float(np.clip(x, 0, width - 1)), float(np.clip(y, 0, height - 1))

    def outline_error(self) -> int:
        """Pixels by which an outline drawn now is too wide (positive) or too tight."""
        pixels = round(self.mistakes.drawing_error)
        return pixels if self.rng.random() < 0.5 else -pixels

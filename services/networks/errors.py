"""What a network may refuse."""

from __future__ import annotations

from pathlib import Path


class ModelError(Exception):
    """A request or a checkpoint that a network cannot serve; the message names what is wrong and, if known,
    the fix.

    `invalid` is True where the caller's input is at fault, False where the model is.
    """

    def __init__(self, message: str, *, invalid: bool = True) -> None:
        super().__init__(message)
        self.invalid = invalid


class NotFinite(ModelError):
    """NaN or infinity in what a network, or a `part` of it, computed. `weights` is the file or directory that
    it was loaded from, where it is known.
    """

    def __init__(self, part: str, weights: Path | None = None) -> None:
        where = f" in {weights}" if weights else ""
        super().__init__(
            f"{part} gave NaN or infinity; its weights{where} are damaged or overflow: fetch them again, or "
            "serve in float32 (TERCET_NETWORKS_PRECISION=float32)",
            invalid=False,
        )
        self.part, self.weights = part, weights

    def of(self, weights: Path | None) -> NotFinite:
        """The same, naming these weights where it names none."""
        return self if self.weights else NotFinite(self.part, weights)

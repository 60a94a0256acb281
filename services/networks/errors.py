"""What a network may refuse."""

from __future__ import annotations


class ModelError(Exception):
    """A request or a checkpoint that a network cannot serve; the message names what is wrong and, if known,
    the fix.

    `invalid` is True where the caller's input is at fault, False where the model is.
    """

    def __init__(self, message: str, *, invalid: bool = True) -> None:
        super().__init__(message)
        self.invalid = invalid

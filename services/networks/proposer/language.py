"""The bundled proposer's output: `phrase <sep> phrase ... <not> negative <sep> negative`, written and
strictly parsed.
"""

from __future__ import annotations

from collections.abc import Sequence

SEPARATOR, NEGATIVES, IMAGE = "<sep>", "<not>", "<image>"
MOST_WORDS = 6


def write(phrases: Sequence[str], negatives: Sequence[str]) -> str:
    """The text to learn: phrases in order, then what is easily confused with them and absent."""
    positive = f" {SEPARATOR} ".join(phrases)
    return f"{positive} {NEGATIVES} " + f" {SEPARATOR} ".join(negatives)


def confused_with(negative: str, phrases: Sequence[str]) -> str:
    """The phrase that shares most words with a negative, the first of several; empty if none shares any."""
    words = set(negative.split())
    shared = [len(words & set(phrase.split())) for phrase in phrases]
    return phrases[shared.index(max(shared))] if shared and max(shared) > 0 else ""

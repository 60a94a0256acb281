"""Greedy decoding of several images at once that never writes the same phrase twice.

Under plain greedy decoding a small model repeats a phrase for every instance in a crowd.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from services.networks.proposer.stepping import Stepper


@dataclass
class Written:
    """What one image's decoding has written: phrases as token ids with the mean log probability of their
    tokens.
    """

    phrases: list[tuple[tuple[int, ...], float]] = field(default_factory=list)
    negatives: list[tuple[tuple[int, ...], float]] = field(default_factory=list)
    current: list[int] = field(default_factory=list)
    worth: list[float] = field(default_factory=list)
    after_not: bool = False
    done: bool = False

    def banned(self) -> list[int]:
        """Tokens that would complete a phrase that is already written."""
        size = len(self.current)
        return [
            tokens[-1]
            for tokens, _ in (*self.phrases, *self.negatives)
            if len(tokens) == size + 1 and list(tokens[:-1]) == self.current
        ]

    def end_phrase(self) -> None:
        """Close the current phrase, if it has words."""
        if self.current:
            (self.negatives if self.after_not else self.phrases).append(
                (tuple(self.current), sum(self.worth) / len(self.worth))
            )
        self.current, self.worth = [], []


@dataclass(frozen=True)
class Marks:
    """Token ids with a meaning of their own."""

    bos: int
    eos: int
    separator: int
    negatives: int


def decode(
    network: LlavaForConditionalGeneration,
    images: Tensor,
    marks: Marks,
    most_phrases: int,
    most_negatives: int,
    most_steps: int,
) -> list[Written]:
    """Decode image tokens [B, T, D] into phrases, then negatives, for each image; products over many tokens
    are in the images' number format.
    """
    written = [Written() for _ in range(len(images))]
    head, embed = network.lm_head, network.get_input_embeddings()
    single = torch.float32 if images.device.type == "cpu" else images.dtype
    through = Stepper(network.model.language_model, images.dtype, single, images.shape[1] + most_steps)
    start = torch.full((len(images), 1), marks.bos, device=images.device)
    inputs = torch.cat([images, embed(start).to(images.dtype)], 1)
    for _ in range(most_steps):
        hidden = through(inputs)
        scores = torch.log_softmax(head(hidden).float(), -1)
        for row, state in zip(scores, written, strict=True):
            row[[marks.bos, *state.banned()]] = -torch.inf
        worth, chosen = scores.max(-1)
        for state, token, value in zip(written, chosen.tolist(), worth.tolist(), strict=True):
            _advance(state, token, value, marks, most_phrases, most_negatives)
        if all(state.done for state in written):
            break
        inputs = embed(chosen[:, None]).to(single)
    for state in written:
        state.end_phrase()
    return written


def _advance(
    state: Written, token: int, worth: float, marks: Marks, most_phrases: int, most_negatives: int
) -> None:
    if state.done:
        return
    if token in (marks.eos, marks.separator, marks.negatives):
        state.end_phrase()
        state.after_not = state.after_not or token == marks.negatives
        full = (
            len(state.negatives) >= most_negatives
            if state.after_not
            else (len(state.phrases) >= most_phrases and most_negatives == 0)
        )
        state.done = token == marks.eos or full
    else:
        state.current.append(token)
        state.worth.append(worth)

"""All phrases that the bundled networks learn, as numbers: which composition each holds for, and its
tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from services.networks.grounder.architecture import TEXT_LENGTH
from services.networks.proposer.language import IMAGE, NEGATIVES, SEPARATOR
from services.networks.vocabulary import word_tokenizer
from services.scenes.ontology import ontology

HYPERNYMS = ("vehicle", "animal")
NOTHING = 384
"""The row of `holds` for a token or pixel without an object."""


def scene_tokenizer() -> PreTrainedTokenizerFast:
    """The bundled networks' words: colours, patterns, kinds, hypernyms, and the words of phrases without an
    object.
    """
    words = ontology()
    return word_tokenizer(
        [*words.colours, *words.patterns, *words.kinds, *HYPERNYMS, *words.whole_image, *words.ungroundable],
        specials=(SEPARATOR, NEGATIVES, IMAGE),
    )


@dataclass(frozen=True)
class PhraseBank:
    """`texts` P phrases; `holds` bool [385, P], row = composition number; `ids` and `attention` int64 [P, L];
    `always` the numbers of short phrases; `trained` bool [P], False where only held-out compositions would
    fit.
    """

    texts: tuple[str, ...]
    holds: Tensor
    ids: Tensor
    attention: Tensor
    always: Tensor
    trained: Tensor
    depth: Tensor


@cache
def phrase_bank() -> PhraseBank:
    """Kinds and hypernyms; colour or pattern with kind; all three."""
    words = ontology()
    triples = words.compositions
    texts: dict[str, int] = dict.fromkeys(words.kinds, 1)
    texts |= dict.fromkeys(HYPERNYMS, 1)
    texts |= {f"{colour} {kind}": 2 for colour in words.colours for kind in words.kinds}
    texts |= {f"{pattern} {kind}": 2 for pattern in words.patterns for kind in words.kinds}
    texts |= {f"{colour} {pattern} {kind}": 3 for colour, pattern, kind in triples}
    holds = torch.zeros(len(triples) + 1, len(texts), dtype=torch.bool)
    numbers = {text: number for number, text in enumerate(texts)}
    for row, (colour, pattern, kind) in enumerate(triples):
        fitting = [
            kind,
            f"{colour} {kind}",
            f"{pattern} {kind}",
            f"{colour} {pattern} {kind}",
            *(hypernym for hypernym in words.hypernyms[kind] if hypernym in HYPERNYMS),
        ]
        holds[row, [numbers[text] for text in fitting]] = True
    tokens = scene_tokenizer()(
        list(texts), padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt"
    )
    seen = torch.tensor([triple not in words.held_out for triple in triples])
    trained = holds[:-1][seen].any(0)
    depth = torch.tensor(list(texts.values()))
    return PhraseBank(
        tuple(texts),
        holds,
        tokens["input_ids"],
        tokens["attention_mask"],
        (depth == 1).nonzero()[:, 0],
        trained,
        depth,
    )


def composition_numbers(objects: Tensor) -> Tensor:
    """Composition numbers [...] of rows of objects [..., 8]; `NOTHING` where there is none."""
    number = (objects[..., 0] * 4 + objects[..., 1]) * 12 + objects[..., 2]
    return torch.where(objects[..., 0] >= 0, number, torch.full_like(number, NOTHING))

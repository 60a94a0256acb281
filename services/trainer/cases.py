"""Questions for the verifier with known answers: masks that are right or spoilt in a known way, sets of masks
with one missing or two merged, phrases that hold, nearly hold, or make no sense.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from services.scenes.ontology import Ontology, ontology

MERGED = 0.12
"""Share of the ev cases that are drawn as merged ones."""
RIGHT_IOU, WRONG_IOU = 0.8, 0.7
"""A mask is right above the first and wrong below the second; between them it is no clear case and not used.
"""


@dataclass(frozen=True)
class MaskCase:
    """Is `mask` bool [H, W] one good instance of `phrase`? `answer` is a choice of mv; `kind` says how it was
    made.
    """

    mask: Tensor
    phrase: str
    answer: str
    kind: str


@dataclass(frozen=True)
class SetCase:
    """Are `masks` bool [M, H, W] all instances of `phrase`? `answer` is a choice of ev or nv."""

    masks: Tensor
    phrase: str
    answer: str
    kind: str


class CaseMaker:
    """Cases of one scene: `ids` int64 [H, W] and the composition number of each object."""

    def __init__(
        self,
        ids: Tensor,
        numbers: list[int],
        rng: np.random.Generator,
        *,
        held_out: bool,
        merged: float = MERGED,
    ) -> None:
        self.ids, self.rng, self.merged = ids, rng, merged
        self.words: Ontology = ontology()
        self.triples = [self.words.compositions[number] for number in numbers]
        self.held_out = held_out

    def mask_case(self) -> MaskCase | None:
        """One mv case, or None where the scene cannot give the kind that was drawn."""
        if not self.triples:
            return None
        target = int(self.rng.integers(len(self.triples)))
        truth = self.ids == target + 1
        phrase = self._phrase(self.triples[target])
        draw = self.rng.random()
        if draw < 0.42:
            mask = self._roughen(truth, 0.5)
            return MaskCase(mask, phrase, "accept", "right") if _iou(mask, truth) >= RIGHT_IOU else None
        if draw < 0.54:
            near = self._near_miss(target)
            return (
                None if near is None else MaskCase(self._roughen(truth, 0.5), near, "reject", "wrong phrase")
            )
        if draw < 0.62:
            others = [i for i, triple in enumerate(self.triples) if not self._fits(phrase, triple)]
            if not others:
                return None
            return MaskCase(self._roughen(self.ids == others[0] + 1, 0.5), phrase, "reject", "wrong object")
        if draw < 0.85:
            return self._spoilt(truth, phrase, target)
        if draw < 0.94:
            return MaskCase(self._roughen(truth, 0.8), self._nonsense(), "flag_label", "nonsense phrase")
        whole = torch.ones_like(truth) if self.rng.random() < 0.5 else truth
        return MaskCase(whole, self._pick(self.words.whole_image), "whole_image", "whole image")

    def set_case(self) -> SetCase | None:
        """One ev case, or None where the scene cannot give the kind that was drawn."""
        draw = self.rng.random()
        if draw < 0.12:
            absent = self._absent()
            return None if absent is None else SetCase(self._none(), absent, "accept", "absent phrase")
        if draw < 0.2:
            return SetCase(self._some_masks(), self._nonsense(), "flag_label", "nonsense phrase")
        if draw < 0.26:
            return SetCase(
                self._some_masks(), self._pick(self.words.whole_image), "whole_image", "whole image"
            )
        if draw < 0.32:
            return SetCase(
                self._some_masks(), self._pick(self.words.ungroundable), "ungroundable", "ungroundable"
            )
        if not self.triples:
            return None
        merging = draw > 1 - self.merged
        phrase = self._phrase(self.triples[int(self.rng.integers(len(self.triples)))], shallow=merging)
        members = [i for i, triple in enumerate(self.triples) if self._fits(phrase, triple)]
        masks = [self._roughen(self.ids == i + 1, 0.5) for i in members]
        if merging:
            if len(masks) < 2:
                return None
            merged = [masks[0] | masks[1], *masks[2:]]
            return SetCase(torch.stack(merged), phrase, "reject_unseparated", "merged")
        if draw < 0.62:
            return SetCase(torch.stack(masks), phrase, "accept", "complete")
        dropped = int(self.rng.integers(1, len(masks) + 1)) if self.rng.random() < 0.3 else 1
        keep = self.rng.permutation(len(masks))[dropped:]
        left = torch.stack([masks[i] for i in keep]) if len(keep) else self._none()
        return SetCase(left, phrase, "reject", "missing")

    def presence_case(self) -> SetCase | None:
        """One nv case: a phrase that holds, or a near miss or other phrase that does not."""
        if self.triples and self.rng.random() < 0.5:
            phrase = self._phrase(self.triples[int(self.rng.integers(len(self.triples)))])
            return SetCase(self._none(), phrase, "present", "present")
        absent = self._absent()
        return None if absent is None else SetCase(self._none(), absent, "absent", "absent")

    def _pick(self, texts: tuple[str, ...]) -> str:
        return texts[int(self.rng.integers(len(texts)))]

    def _none(self) -> Tensor:
        return torch.zeros(0, *self.ids.shape, dtype=torch.bool)

    def _some_masks(self) -> Tensor:
        count = int(self.rng.integers(0, 3))
        chosen = self.rng.permutation(len(self.triples))[:count]
        return torch.stack([self.ids == int(i) + 1 for i in chosen]) if len(chosen) else self._none()

    def _phrase(self, triple: tuple[str, str, str], *, shallow: bool = False) -> str:
        """One of the phrases that hold for a composition: kind, colour kind, pattern kind, or all three."""
        colour, pattern, kind = triple
        forms = [kind, f"{colour} {kind}", f"{pattern} {kind}", f"{colour} {pattern} {kind}"]
        weights = np.array([0.6, 0.3, 0.1, 0.0]) if shallow else np.array([0.22, 0.22, 0.06, 0.5])
        return forms[int(self.rng.choice(4, p=weights))]

    @staticmethod
    def _fits(phrase: str, triple: tuple[str, str, str]) -> bool:
        return set(phrase.split()) <= set(triple)

    def _changed(self, triple: tuple[str, str, str]) -> tuple[str, str, str]:
        """One word of a composition changed, mostly for a near one."""
        colour, pattern, kind = triple
        which = int(self.rng.integers(3))
        if which == 0:
            return (
                self._pick(self.words.near[colour] if self.rng.random() < 0.5 else self.words.colours),
                pattern,
                kind,
            )
        if which == 1:
            return colour, self._pick(self.words.patterns), kind
        return (
            colour,
            pattern,
            self._pick(self.words.siblings[kind] if self.rng.random() < 0.5 else self.words.kinds),
        )

    def _near_miss(self, target: int) -> str | None:
        """A phrase that nearly holds for an object."""
        changed = self._changed(self.triples[target])
        phrase = self._phrase(changed)
        allowed = self.held_out or changed not in self.words.held_out
        return phrase if allowed and not self._fits(phrase, self.triples[target]) else None

    def _absent(self) -> str | None:
        """A phrase that holds for no object of the scene, mostly a near miss."""
        if self.triples and self.rng.random() < 0.7:
            base = self._changed(self.triples[int(self.rng.integers(len(self.triples)))])
        else:
            base = self.words.compositions[int(self.rng.integers(len(self.words.compositions)))]
        phrase = self._phrase(base)
        if not self.held_out and base in self.words.held_out:
            return None
        return None if any(self._fits(phrase, triple) for triple in self.triples) else phrase

    def _nonsense(self) -> str:
        """A phrase that names nothing: doubled or swapped words, contradictions, words that are not known."""
        colours, patterns, kinds = self.words.colours, self.words.patterns, self.words.kinds
        kind, colour, pattern = self._pick(kinds), self._pick(colours), self._pick(patterns)
        forms = [
            f"{kind} {kind}",
            f"{colour} {self._pick(colours)}",
            f"{kind} {colour}",
            f"{pattern} {colour}",
            f"{kind} {pattern} {colour}",
            f"{kind} {self._pick(kinds)}",
            f"{colour} qzx",
            "qzx",
        ]
        return forms[int(self.rng.integers(len(forms)))]

    def _roughen(self, mask: Tensor, most: float) -> Tensor:
        """The mask with a slightly wavy edge, as a segmenter would draw it."""
        strength = float(self.rng.random()) * most
        if strength < 0.1:
            return mask
        area = float(mask.sum())
        sigma = max(1, int(0.04 * area**0.5))
        soft = functional.avg_pool2d(mask[None, None].float(), 2 * sigma + 1, stride=1, padding=sigma)
        cells = max(4, int(mask.shape[0] / max(4 * sigma, 6)))
        noise = torch.from_numpy(self.rng.standard_normal((1, 1, cells, cells), np.float32))
        wave = functional.interpolate(noise, mask.shape, mode="bilinear", align_corners=False)
        rough = (soft + strength * 0.35 * wave * (soft > 0.02) * (soft < 0.98))[0, 0] > 0.5
        return rough if bool(rough.any()) else mask

    def _spoilt(self, truth: Tensor, phrase: str, target: int) -> MaskCase | None:
        """The right object with a mask that is shifted, shrunk, grown, cut or merged with its neighbour."""
        ys, xs = truth.nonzero(as_tuple=True)
        height, width = int(ys.max() - ys.min()) + 1, int(xs.max() - xs.min()) + 1
        kind = ("shifted", "shrunk", "grown", "partial", "merged")[int(self.rng.integers(5))]
        if kind == "shifted":
            dy, dx = (
                int(self.rng.uniform(0.12, 0.5) * side * self.rng.choice([-1, 1])) for side in (height, width)
            )
            mask = torch.roll(truth, (dy, dx), (0, 1))
        elif kind in ("shrunk", "grown"):
            reach = max(1, int(self.rng.uniform(0.06, 0.2) * float(truth.sum()) ** 0.5))
            source = (~truth if kind == "shrunk" else truth)[None, None].float()
            spread = functional.max_pool2d(source, 2 * reach + 1, stride=1, padding=reach)[0, 0] > 0
            mask = ~spread if kind == "shrunk" else spread
        elif kind == "partial":
            share = self.rng.uniform(0.3, 0.65)
            line = (
                torch.arange(truth.shape[0])[:, None]
                if self.rng.random() < 0.5
                else torch.arange(truth.shape[1])[None]
            )
            low, size = (int(ys.min()), height) if line.shape[1] == 1 else (int(xs.min()), width)
            side = line < low + size * share
            mask = truth & (side if self.rng.random() < 0.5 else ~side)
        else:
            others = [i for i in range(len(self.triples)) if i != target]
            if not others:
                return None
            middle = torch.stack([ys.float().mean(), xs.float().mean()])
            distance = [
                float(
                    (
                        torch.stack([p.float().mean() for p in (self.ids == i + 1).nonzero(as_tuple=True)])
                        - middle
                    ).norm()
                )
                for i in others
            ]
            mask = truth | (self.ids == others[int(np.argmin(distance))] + 1)
        if not bool(mask.any()) or _iou(mask, truth) >= WRONG_IOU:
            return None
        return MaskCase(mask, phrase, "reject", kind)


def _iou(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum()) / max(float((first | second).sum()), 1.0)

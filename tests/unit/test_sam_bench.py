"""The arithmetic of `python -m tests.bench sam`, and what it puts in place of a random network's output."""

from __future__ import annotations

import torch

from tests.bench.sam import DEFAULT, EXACT, REFERENCE, ratio, same_records, table
from tests.bench.sam_worker import LEAST_SCORE, substitutes


def figures(seconds: float, records: list[list[object]]) -> dict[str, object]:
    parts = ("processor", "encode", "decode_64", "post_mask", "suppress")
    return {"everything": seconds, "records": records, **dict.fromkeys(parts, seconds)}


def test_records_are_the_same_with_equal_run_lengths_and_figures() -> None:
    theirs = [["a", 3, 0.9, 0.95], ["b", 4, 0.8, 0.97]]
    assert same_records([["b", 4, 0.8000001, 0.97], ["a", 3, 0.9, 0.95]], theirs) == 2
    assert same_records([["a", 3, 0.8, 0.95], ["c", 3, 0.9, 0.95]], theirs) == 0


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    records: list[list[object]] = [["a", 3, 0.9, 0.95]]
    rounds = [
        {
            DEFAULT.name: figures(slow, records),
            REFERENCE.name: figures(slow / 2, records),
            EXACT.name: figures(1, records),
        }
        for slow in (4, 8, 100)
    ]
    assert ratio(rounds, DEFAULT.name, EXACT.name) == 8
    assert ratio(rounds, REFERENCE.name, EXACT.name) == 4
    columns = [list(column.cells) for column in table("vit_b", 8, rounds).columns]
    assert columns[0] == [DEFAULT.name, REFERENCE.name, EXACT.name]
    assert columns[-3] == ["1.0x", "2.0x", "8.0x"]
    assert columns[-1] == ["1 of 1"] * 3


def test_substitutes_are_masks_of_many_sizes() -> None:
    logits, scores = substitutes(16, 64)
    assert logits.shape == (16, 3, 64, 64)
    assert scores.shape == (16, 3)
    assert LEAST_SCORE <= float(scores.min()) < float(scores.max()) <= 1
    shares = (logits > 0).float().mean((2, 3)).flatten()
    assert float(shares.min()) < 0.01 < 0.2 < float(shares.max())
    assert torch.equal(substitutes(16, 64)[0], logits)

"""Masks as COCO run lengths."""

from __future__ import annotations

from services.core import masks


def test_a_mask_of_nothing_has_a_box_of_zeros_however_its_runs_are_written() -> None:
    for counts in (b"h3", b"h30"):  # [120] and [120, 0]
        assert masks.area(counts, 10, 12) == 0
        assert masks.box(counts, 10, 12) == (0.0, 0.0, 0.0, 0.0)

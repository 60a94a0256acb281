"""Overlays: where the colour lies, which colour it is, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gateway.overlay import PALETTE, render
from services.core import masks
from services.core.errors import InvalidInput
from tercet.v1 import concepts_pb2

GREY = 100


def picture(width: int = 400, height: int = 300) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), (GREY, GREY, GREY)).save(encoded, format="PNG")
    return encoded.getvalue()


def mask(
    left: int, top: int, right: int, bottom: int, width: int = 400, height: int = 300
) -> concepts_pb2.Mask:
    drawn = np.zeros((height, width), dtype=np.bool_)
    drawn[top:bottom, left:right] = True
    return concepts_pb2.Mask(
        counts=masks.encode(drawn), height=height, width=width, area=int(drawn.sum()), score=0.8
    )


def pair(phrase: str, *found: concepts_pb2.Mask, negative: bool = False) -> concepts_pb2.Pair:
    polarity = concepts_pb2.POLARITY_NEGATIVE if negative else concepts_pb2.POLARITY_POSITIVE
    return concepts_pb2.Pair(phrase=phrase, polarity=polarity, masks=found)


def pixels(drawn: bytes) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(drawn)) as opened:
        assert opened.format == "PNG"
        return np.asarray(opened.convert("RGB")).astype(np.int64)


def tinted(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    return GREY * 0.55 + np.array(colour) * 0.45


def test_each_phrase_in_its_colour_where_its_masks_are() -> None:
    pairs = [
        pair("cat", mask(250, 150, 350, 250)),
        pair("apple", mask(20, 100, 120, 200), mask(150, 20, 200, 70)),
    ]
    drawn = pixels(render(picture(), pairs))
    assert drawn.shape == (300, 400, 3)
    for (y, x), colour in (((150, 70), PALETTE[0]), ((45, 175), PALETTE[0]), ((200, 300), PALETTE[1])):
        assert np.abs(drawn[y, x] - tinted(colour)).max() <= 1
    assert (drawn[280, 200] == GREY).all()
    assert (drawn[150, 20] == PALETTE[0]).all(), "the mask's edge is outlined in its colour"


def test_one_phrase_keeps_its_colour() -> None:
    pairs = [pair("apple", mask(20, 100, 120, 200)), pair("cat", mask(250, 150, 350, 250))]
    drawn = pixels(render(picture(), pairs, phrase="cat"))
    assert (drawn[150, 70] == GREY).all()
    assert np.abs(drawn[200, 300] - tinted(PALETTE[1])).max() <= 1


def test_negatives_are_not_drawn() -> None:
    drawn = pixels(render(picture(), [pair("dog", mask(20, 100, 120, 200), negative=True)]))
    assert (drawn == GREY).all()


def test_a_small_instance_stays_on_top_of_a_large_one() -> None:
    pairs = [pair("apple", mask(180, 130, 220, 170)), pair("table", mask(20, 60, 380, 280))]
    drawn = pixels(render(picture(), pairs))
    table = GREY * 0.55 + np.array(PALETTE[1]) * 0.45
    assert np.abs(drawn[150, 200] - (table * 0.55 + np.array(PALETTE[0]) * 0.45)).max() <= 2


def test_a_large_picture_is_scaled_with_its_masks() -> None:
    large = mask(1000, 600, 1800, 1400, width=2000, height=1500)
    drawn = pixels(render(picture(2000, 1500), [pair("cat", large)], longest_side=500))
    assert drawn.shape == (375, 500, 3)
    assert np.abs(drawn[250, 350] - tinted(PALETTE[0])).max() <= 1
    assert (drawn[300, 100] == GREY).all()


def test_many_labels_fit_into_a_tiny_picture() -> None:
    pairs = [
        pair(f"a rather long phrase {number}", mask(0, 0, 8, 8, width=8, height=8)) for number in range(20)
    ]
    assert pixels(render(picture(8, 8), pairs)).shape == (8, 8, 3)


def test_no_masks_at_all_and_an_empty_one() -> None:
    assert (pixels(render(picture(), [])) == GREY).all()
    empty = mask(0, 0, 0, 0)
    assert (pixels(render(picture(), [pair("cat", empty)])) == GREY).all()
    named = pixels(render(picture(), [pair("cat")]))
    assert (named[:30] != GREY).any(), "a phrase without instances is named"


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInput, match="400 x 300"):
        render(picture(400, 300), [pair("cat", mask(0, 0, 9, 9, width=10, height=10))])


def test_colours_are_apart_for_every_kind_of_vision() -> None:
    """Simulated by Viénot, Brettel and Mollon, "Digital video colourmaps for checking legibility" (1999)."""
    simulations = {
        "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
        "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    }
    linear = (np.array(PALETTE) / 255) ** 2.2
    for name, simulation in simulations.items():
        seen = np.clip(linear @ simulation.T, 0, 1) ** (1 / 2.2) * 255
        for one in range(len(seen)):
            for other in range(one):
                assert np.linalg.norm(seen[one] - seen[other]) > 30, (name, PALETTE[one], PALETTE[other])

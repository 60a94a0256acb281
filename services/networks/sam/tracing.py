"""Masks traced from low-resolution logits: compressed run lengths, box, area and the stability's two counts,
without ever making the masks.

Interpolation mixes neighbours with weights of 0 or more that sum to 1, so a threshold can be crossed only
between two logits on different sides of it. Image pixels between such logits are computed, one by one, in the
order of torch's own operations (the taps of `resampling`, fused multiply-add), which gives torch's very
values; all other pixels are known without computing them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

FIRST_CAPACITY = 1 << 12
ROUNDING = np.float32(2.0**-19)
"""16 units in the last place: more than the at most six roundings between a logit and an image pixel."""
LEAST_ROUNDING = np.float32(1e-30)


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, without the interpreter's lock; kept on disk where that can be written."""
    try:
        return numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # no folder can hold the cache, as in a container without a writable disk
        return numba.njit(function, nogil=True)


def _fused_signature(_context: Any, _a: Any, _b: Any, _c: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


def _trailing_zeros_signature(_context: Any, _word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


_fused: Any = intrinsic(_fused_signature)
"""a * b + c, rounded once."""
_trailing_zeros: Any = intrinsic(_trailing_zeros_signature)
"""Zero bits below the lowest set bit of a word that is not 0."""


@compiled
def _order(value):  # type: ignore[no-untyped-def]
    """A float's bits as an integer that orders as the floats do (which the compiler may then vectorise)."""
    return np.int32(value ^ ((value >> 31) & np.int32(0x7FFFFFFF)))


@compiled
def _extremes(columns, highest, row_highest):  # type: ignore[no-untyped-def]
    """The greatest value of each column and row, as `_order`; returns the bits of the greatest magnitude."""
    bits = columns.view(np.int32)
    most = np.int32(0)
    row_highest[:] = np.iinfo(np.int32).min
    for x in range(columns.shape[0]):
        column = bits[x]
        high = np.int32(np.iinfo(np.int32).min)
        for y in range(columns.shape[1]):
            key = _order(column[y])
            high = max(high, key)
            most = max(most, np.int32(column[y] & np.int32(0x7FFFFFFF)))
            row_highest[y] = max(row_highest[y], key)
        highest[x] = high
    return most


@compiled
def _compress(run, number, before, out, size):  # type: ignore[no-untyped-def]
    """One run in COCO's compressed form (maskApi.c, rleToString) at `out[size:]`; returns the new size.
    `before` are the last two runs, kept by the parity of their number.
    """
    value = run - before[number & 1] if number > 2 else run
    before[number & 1] = run
    more = True
    while more:
        symbol = value & 0x1F
        value >>= 5
        more = value != -1 if symbol & 0x10 else value != 0
        out[size] = (symbol | 0x20 if more else symbol) + 48
        size += 1
    return size


@compiled
def _fill(square, column, low_columns, low_weights, columns, begin, end):  # type: ignore[no-untyped-def]
    """Column `column` of the square at the logits' rows begin to end."""
    near, far = columns[low_columns[0, column]], columns[low_columns[1, column]]
    w0, w1 = low_weights[0, column], low_weights[1, column]
    for y in range(begin, end):
        square[y] = _fused(near[y], w0, far[y] * w1)


@compiled
def _pixel(left, right, w0, w1, rows, weights):  # type: ignore[no-untyped-def]
    """One pixel of the image between two columns of the square."""
    up = _fused(
        _fused(left[rows[0]], weights[0], left[rows[1]] * weights[1]),
        w0,
        _fused(right[rows[0]], weights[0], right[rows[1]] * weights[1]) * w1,
    )
    down = _fused(
        _fused(left[rows[2]], weights[2], left[rows[3]] * weights[3]),
        w0,
        _fused(right[rows[2]], weights[2], right[rows[3]] * weights[3]) * w1,
    )
    return _fused(up, weights[4], down * weights[5])


@compiled
def _find_crossings(  # type: ignore[no-untyped-def]
    left, right, w0, w1, begin, end, levels, margin, above, below, crossings
):
    """`crossings[k]` is not 0 where a threshold may lie between logit rows k and k + 1."""
    a0, a1, a2 = levels[0] + margin, levels[1] + margin, levels[2] + margin
    b0, b1, b2 = levels[0] - margin, levels[1] - margin, levels[2] - margin
    for y in range(begin, end):
        value = left[y] * w0 + right[y] * w1
        above[y] = np.uint8((value > a0) + 2 * (value > a1) + 4 * (value > a2))
        below[y] = np.uint8((value < b0) + 2 * (value < b1) + 4 * (value < b2))
    for y in range(begin, end - 1):
        crossings[y] = np.uint8(7 & ~((above[y] & above[y + 1]) | (below[y] & below[y + 1])))
    crossings[end - 1] = 0


@compiled
def trace(  # type: ignore[no-untyped-def]
    logits, low_columns, low_weights, columns, column_weights, rows, row_weights, first, last, span, levels
):
    """Trace masks whose logits are given by columns, float32 [N, w, h]; the rest is a `Resampling`'s and the
    three thresholds, ascending: outer, the mask's own, inner.

    Returns the compressed runs of all masks, uint8, where each ends, int64 [N], and int64 [N, 7]: pixels
    above the outer threshold, the mask's own and the inner, x, y, width and height of the box; -1 pixels for
    logits that are not finite.
    """
    count, low_width, low_height = logits.shape
    width, height = columns.shape[1], rows.shape[0]
    ends = np.zeros(count, np.int64)
    figures = np.zeros((count, 7), np.int64)
    out = np.empty(FIRST_CAPACITY * (count + 1), np.uint8)
    size = 0
    highest, row_highest = np.empty(low_width, np.int32), np.empty(low_height, np.int32)
    squares, tags = np.empty((2, low_height), np.float32), np.empty(2, np.int64)
    words = low_height // 8 + 1
    crossings = np.zeros(8 * words, np.uint8)
    crossing_words = crossings.view(np.uint64)
    above, below = np.empty(low_height, np.uint8), np.empty(low_height, np.uint8)
    changes = np.empty(height + 1, np.int64)
    before = np.zeros(2, np.int64)
    one = np.empty(1, np.float32)
    outer_level, level, inner_level = levels[0], levels[1], levels[2]
    for number in range(count):
        low = logits[number]
        one.view(np.int32)[0] = _extremes(low, highest, row_highest)
        if not one[0] < np.inf:
            figures[number, :3] = -1
            ends[number] = size
            continue
        margin = ROUNDING * one[0] + LEAST_ROUNDING
        one[0] = outer_level - margin
        nothing = _order(one.view(np.int32)[0])
        begin, end = low_height, 0
        for y in range(low_height):
            if row_highest[y] > nothing:
                begin, end = min(begin, y), y + 1
        begin, end = max(0, begin - span - 2), min(low_height, end + span + 2)
        tags[:] = -1
        crossings[:] = 0
        outer, area, inner = 0, 0, 0
        left_most, right_most, top, bottom = width, -1, height, -1
        inside, runs, started = False, 0, 0
        for x in range(width):
            c0, c1 = columns[0, x], columns[1, x]
            most = max(
                max(highest[low_columns[0, c0]], highest[low_columns[1, c0]]),
                max(highest[low_columns[0, c1]], highest[low_columns[1, c1]]),
            )
            changed = 0
            if most > nothing:
                for c in (c0, c1):
                    if tags[c & 1] != c:
                        _fill(squares[c & 1], c, low_columns, low_weights, low, begin, end)
                        tags[c & 1] = c
                left, right = squares[c0 & 1], squares[c1 & 1]
                w0, w1 = column_weights[0, x], column_weights[1, x]
                _find_crossings(left, right, w0, w1, begin, end, levels, margin, above, below, crossings)
                was_outer, was, was_inner = False, False, False
                done = 0
                if begin == 0:
                    value = _pixel(left, right, w0, w1, rows[0], row_weights[0])
                    was_outer, was, was_inner = value > outer_level, value > level, value > inner_level
                    done = 1
                    if was:
                        changes[0] = 0
                        changed = 1
                for w in range(begin >> 3, words):
                    word = crossing_words[w]
                    while word:
                        byte = _trailing_zeros(word) >> np.uint64(3)
                        word &= ~(np.uint64(0xFF) << (byte << np.uint64(3)))
                        k = 8 * w + np.int64(byte)
                        for y in range(max(done, first[k]), min(last[k] + 2, height)):
                            value = _pixel(left, right, w0, w1, rows[y], row_weights[y])
                            done = y + 1
                            if (value > outer_level) != was_outer:
                                outer += y if was_outer else -y
                                was_outer = not was_outer
                            if (value > level) != was:
                                area += y if was else -y
                                was = not was
                                changes[changed] = y
                                changed += 1
                            if (value > inner_level) != was_inner:
                                inner += y if was_inner else -y
                                was_inner = not was_inner
                outer += height if was_outer else 0
                area += height if was else 0
                inner += height if was_inner else 0
                if changed:
                    left_most, right_most = min(left_most, x), x
                    top = min(top, changes[0])
                    bottom = max(bottom, height - 1 if was else changes[changed - 1] - 1)
            if out.size < size + 8 * (changed + 4):
                wider = np.empty(2 * out.size + 8 * (changed + 4), np.uint8)
                wider[:size] = out[:size]
                out = wider
            base = x * height
            start = 0
            if inside:
                # The mask goes on from the column before, or ends with it.
                if changed and changes[0] == 0:
                    start = 1
                else:
                    size = _compress(base - started, runs, before, out, size)
                    runs, started = runs + 1, base
            for change in range(start, changed):
                size = _compress(base + changes[change] - started, runs, before, out, size)
                runs, started = runs + 1, base + changes[change]
            inside = (runs & 1) == 1
        size = _compress(width * height - started, runs, before, out, size)
        ends[number] = size
        figures[number, 0], figures[number, 1], figures[number, 2] = outer, area, inner
        if right_most >= 0:
            figures[number, 3], figures[number, 4] = left_most, top
            figures[number, 5], figures[number, 6] = right_most - left_most + 1, bottom - top + 1
    return out[:size], ends, figures


@compiled
def render(logits, low_columns, low_weights, columns, column_weights, rows, row_weights):  # type: ignore[no-untyped-def]
    """Every pixel as `trace` would compute it, float32 [H, W], of logits by columns [w, h]: to compare with
    torch.
    """
    width, height = columns.shape[1], rows.shape[0]
    squares = np.empty((2, logits.shape[1]), np.float32)
    image = np.empty((height, width), np.float32)
    for x in range(width):
        for side in range(2):
            _fill(squares[side], columns[side, x], low_columns, low_weights, logits, 0, logits.shape[1])
        for y in range(height):
            image[y, x] = _pixel(
                squares[0], squares[1], column_weights[0, x], column_weights[1, x], rows[y], row_weights[y]
            )
    return image


@compiled
def compress(positions, ends, inside, total):  # type: ignore[no-untyped-def]
    """Compressed runs of masks of `total` pixels that are given by where, in the order of COCO's runs, a
    pixel differs from the one before: positions int64 [K] of all masks, where each mask's end, int64 [N], and
    whether its first pixel is inside. Returns the runs, uint8, and where each mask's end, int64 [N].
    """
    out = np.empty(8 * (positions.size + 2 * ends.size), np.uint8)
    sizes = np.empty(ends.size, np.int64)
    before = np.zeros(2, np.int64)
    size, begin = 0, 0
    for number in range(ends.size):
        runs, started = 0, 0
        if inside[number]:
            size = _compress(0, runs, before, out, size)
            runs = 1
        for k in range(begin, ends[number]):
            size = _compress(positions[k] - started, runs, before, out, size)
            runs, started = runs + 1, positions[k]
        size = _compress(total - started, runs, before, out, size)
        begin, sizes[number] = ends[number], size
    return out[:size], sizes

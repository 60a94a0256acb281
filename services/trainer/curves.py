"""Curves of a training run."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw_curves(points: list[dict[str, float]], path: Path, title: str) -> None:
    """One small panel a figure, against images seen; writes a PNG."""
    names = [
        name
        for name in dict.fromkeys(key for point in points for key in point)
        if name not in {"images", "seconds"}
    ]
    if not names:
        return
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.4 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        having = [point for point in points if name in point]
        axis.plot(
            [point["images"] for point in having],
            [point[name] for point in having],
            linewidth=1,
            marker="." if len(having) == 1 else None,
        )
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=6)
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)

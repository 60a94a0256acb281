"""The report as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PANELS = (
    ("quality", ("precision@0.5", "recall@0.5", "boundary_IoU"), ("precision", "recall", "boundary IoU")),
    ("images an hour", ("images_per_hour",), ("one annotator",)),
    ("negatives an image", ("negatives_per_image",), ("verified",)),
    ("human seconds a pair", ("seconds_per_positive", "seconds_per_negative"), ("positive", "negative")),
)
COLOURS = ("#0072B2", "#E69F00", "#009E73")
"""Okabe and Ito's, told apart in every kind of colour vision."""


def draw(report: dict[str, Any], path: Path) -> None:
    """Bars of every stage, a black line where something is claimed; `ImportError` without matplotlib."""
    # Loaded only here; without pyplot, which would keep state and look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = report["stages"]
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS), width_ratios=[2.2, 1, 1, 1.4])
    width = 0.8 / max(1, len(stages))
    for panel, (title, names, labels) in zip(axes, PANELS, strict=True):
        for at, (number, stage) in enumerate(stages.items()):
            for place, name in enumerate(names):
                x = place + (at - (len(stages) - 1) / 2) * width
                value, claim = stage["figures"].get(name), claimed(report, number, name)
                if value is not None:
                    panel.bar(x, value, width * 0.95, color=COLOURS[int(number) - 1])
                    panel.annotate(f"{value:.3g}", (x, value), ha="center", va="bottom", fontsize=7)
                if claim is not None:
                    panel.hlines(claim, x - width / 2, x + width / 2, colors="black", linewidth=2)
        panel.set_title(title, fontsize=10)
        panel.set_xticks(range(len(names)), labels, fontsize=8)
        panel.set_xlim(-0.6, len(names) - 0.4)
        panel.margins(y=0.12)
        panel.spines[["top", "right"]].set_visible(False)
    handles = [
        axes[0].bar(0, 0, color=COLOURS[int(number) - 1], label=f"stage {number}") for number in stages
    ]
    handles.append(axes[0].hlines([], 0, 0, colors="black", linewidth=2, label="claimed"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def claimed(report: dict[str, Any], number: str, name: str) -> float | None:
    """What is claimed; where it is a multiple of stage 1's, of the one that is claimed there."""
    claim = report["stages"][number]["claimed"].get(name)
    times = report["stages"][number]["claimed"].get("images_per_hour_over_stage_1")
    if claim is None and name == "images_per_hour" and times is not None and "1" in report["stages"]:
        first = report["stages"]["1"]["claimed"]["images_per_hour"]
        return float(first) * float(times)
    return None if claim is None else float(claim)

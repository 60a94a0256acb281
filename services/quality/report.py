"""The table, the plots and the JSON of a measurement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from services.quality.figures import Figure
from services.quality.rows import Chosen, Row

Scenes = Sequence[Mapping[str, Any]]
BINS = 10


@dataclass(frozen=True)
class Measured:
    """A row with its figure and how many scenes of each seed it was measured on."""

    row: Row
    figure: Figure
    scenes: int


@dataclass(frozen=True)
class Quality:
    """All that was measured. `seconds` are processor seconds an image, by what took them."""

    measured: Sequence[Measured]
    versions: Mapping[str, str]
    chosen: Chosen
    calibrated: bool
    seconds: Mapping[str, float]
    seeds: Sequence[int]
    pipeline: Scenes
    """What stage 3 made of every scene of every seed."""
    notes: str


def write(quality: Quality, folder: Path) -> list[Path]:
    """quality.md, quality.json and the plots in quality/; the paths."""
    pictures = folder / "quality"
    pictures.mkdir(parents=True, exist_ok=True)
    made = [folder / "quality.md", folder / "quality.json"]
    made += [
        _reliability(quality, pictures / "reliability.png"),
        _scores(quality, pictures / "scores.png"),
        _kinds(quality, pictures / "cases.png"),
    ]
    made[0].write_text(markdown(quality), "utf-8")
    made[1].write_text(json.dumps(as_json(quality), indent=1) + "\n", "utf-8")
    return made


def as_json(quality: Quality) -> dict[str, Any]:
    """Everything of the table, for other programs."""
    return {
        "models": dict(quality.versions),
        "seeds": list(quality.seeds),
        "presence_threshold": quality.chosen.presence_threshold,
        "score_calibrated": quality.calibrated,
        "processor_seconds_an_image": {name: round(s, 5) for name, s in quality.seconds.items()},
        "figures": [
            {
                "group": one.row.group,
                "name": one.row.name,
                "value": _number(one.figure.value),
                "seeds": [_number(value) for value in one.figure.seeds],
                "interval": [_number(one.figure.low), _number(one.figure.high)],
                "goal": one.row.goal,
                "reached": one.row.reached(one.figure.value),
                "scenes_of_a_seed": one.scenes,
            }
            for one in quality.measured
        ],
    }


def markdown(quality: Quality) -> str:
    """The page."""
    models = ", ".join(f"`{version}`" for version in quality.versions.values())
    goals = [one for one in quality.measured if one.row.goal is not None]
    reached = sum(bool(one.row.reached(one.figure.value)) for one in goals)
    lines = [
        "# Quality on held-out scenes",
        "",
        "Made by `make quality`. The models are the served ones, called by the code that serves them: "
        f"{models}. Figures are means over {len(quality.seeds)} seeds of scenes that no training saw; behind "
        "them stand the lowest and the highest seed, and the interval that holds 95 % of bootstrap samples "
        f"of all scenes. Of {len(goals)} goals {reached} are reached.",
        "",
    ]
    for with_goals in (True, False):
        lines += ["## Goals" if with_goals else "## Beside them", ""]
        lines += _table(
            [one for one in quality.measured if (one.row.goal is not None) is with_goals], with_goals
        )
    lines += ["## Cost of an image in stage 3", "", *_cost(quality.seconds)]
    lines += [
        "## Plots",
        "",
        "![How often pairs of a score are right](quality/reliability.png)",
        "![Scores of right and of wrong pairs](quality/scores.png)",
        "![The verifier by kind of case](quality/cases.png)",
        "",
        "## What the words mean",
        "",
        quality.notes,
    ]
    return "\n".join(lines)


def _table(measured: Sequence[Measured], with_goals: bool) -> list[str]:
    lines: list[str] = []
    group = ""
    for one in measured:
        if one.row.group != group:
            group = one.row.group
            lines += ["", f"**{group}** ({one.scenes} scenes of each seed)", ""]
            lines += (
                ["| | goal | reached | figure | seeds | 95 % |", "|---|---|---|---|---|---|"]
                if with_goals
                else ["| | figure | seeds | 95 % |", "|---|---|---|---|"]
            )
        figure = one.figure
        of_seeds = [value for value in figure.seeds if not np.isnan(value)] or [np.nan]
        about = f"{_cell(figure.value)} | {_cell(min(of_seeds))} to {_cell(max(of_seeds))} | "
        about += f"{_cell(figure.low)} to {_cell(figure.high)} |"
        if with_goals:
            reached = {True: "yes", False: "**no**", None: "not known"}[one.row.reached(figure.value)]
            bound = "at most " if one.row.most else ""
            lines.append(f"| {one.row.name} | {bound}{one.row.goal:.2f} | {reached} | {about}")
        else:
            lines.append(f"| {one.row.name} | {about}")
    return [*lines, ""]


def _cost(seconds: Mapping[str, float]) -> list[str]:
    total = sum(seconds.values())
    lines = ["| | processor ms an image | share |", "|---|---|---|"]
    lines += [
        f"| {name} | {1000 * value:.1f} | {value / total:.0%} |"
        for name, value in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    return [*lines, f"| all | {1000 * total:.1f} | |", ""]


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def _scored(quality: Quality, positive: bool) -> list[tuple[float, bool]]:
    pairs = [pair for scene in quality.pipeline for pair in scene["pairs"] if pair["positive"] is positive]
    scored = [(quality.chosen.score(pair), bool(pair["right"])) for pair in pairs]
    return [(score, right) for score, right in scored if not np.isnan(score)]


def _reliability(quality: Quality, path: Path) -> Path:
    """Share of right pairs by score, with the number of pairs of each bin."""
    picture, axes = plt.subplots(1, 2, figsize=(7.6, 3.6), sharey=True)
    for axis, positive in zip(axes, (True, False), strict=True):
        scored = np.array(_scored(quality, positive), np.float64).reshape(-1, 2)
        place = np.minimum((scored[:, 0] * BINS).astype(int), BINS - 1)
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for bin_ in sorted(set(place.tolist())):
            mine = scored[place == bin_]
            x, y = float(mine[:, 0].mean()), float(mine[:, 1].mean())
            error = 1.96 * np.sqrt(max(y * (1 - y), 1e-9) / len(mine))
            axis.errorbar([x], [y], yerr=[error], fmt="o", color="C0", markersize=4, linewidth=1)
            axis.annotate(str(len(mine)), (x, y), (4, -9), textcoords="offset points", fontsize=6)
        axis.set_title("positive pairs" if positive else "negative pairs", fontsize=9)
        axis.set_xlabel("score", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("share that is right", fontsize=8)
    return _saved(picture, path)


def _scores(quality: Quality, path: Path) -> Path:
    """How many right and wrong pairs have which score."""
    picture, axes = plt.subplots(1, 2, figsize=(7.6, 3.0))
    for axis, positive in zip(axes, (True, False), strict=True):
        scored = _scored(quality, positive)
        sides = [[score for score, right in scored if right is wanted] for wanted in (True, False)]
        axis.hist(
            sides,
            bins=np.linspace(0, 1, 21).tolist(),
            stacked=True,
            color=["C2", "C3"],
            label=["right", "wrong"],
        )
        for bound in (0.7, 0.9):
            axis.axvline(bound, color="0.4", linewidth=0.8, linestyle=":")
        axis.set_title("positive pairs" if positive else "negative pairs", fontsize=9)
        axis.set_xlabel("score", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7)
    return _saved(picture, path)


def _kinds(quality: Quality, path: Path) -> Path:
    """The verifier's accuracy on each kind of case."""
    kinds = [one for one in quality.measured if one.row.group.endswith("by kind of case")]
    picture, axis = plt.subplots(figsize=(7.6, 0.6 + 0.2 * len(kinds)))
    names = [f"{one.row.group.split()[1].rstrip(',')}: {one.row.name}" for one in kinds]
    values = np.array([one.figure.value for one in kinds])
    bounds = np.array([[one.figure.low, one.figure.high] for one in kinds]).reshape(-1, 2)
    axis.barh(names, values, color="C0", height=0.7)
    axis.hlines(names, bounds[:, 0], bounds[:, 1], color="black", linewidth=1)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.tick_params(labelsize=7)
    axis.set_xlabel("accuracy", fontsize=8)
    return _saved(picture, path)


def _saved(picture: Any, path: Path) -> Path:
    picture.tight_layout()
    picture.savefig(path, dpi=90)
    plt.close(picture)
    return path

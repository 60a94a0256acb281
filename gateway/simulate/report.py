"""The report of a simulation: plain objects for JSON, and a page of markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gateway.simulate.campaign import Outcome, Setting, StageNumber

Json = dict[str, Any]

CLAIMED: Mapping[StageNumber, Mapping[str, float]] = {
    "1": {
        "precision@0.5": 0.98,
        "recall@0.5": 0.95,
        "boundary_IoU": 0.92,
        "images_per_hour": 100.0,
        "negatives_per_image": 10.0,
    },
    "2": {
        "precision@0.5": 0.95,
        "recall@0.5": 0.92,
        "images_per_hour_over_stage_1": 2.0,
        "negatives_per_image": 30.0,
    },
    "3": {},
}
"""What is published for such an engine. It is set beside what came out; nothing is fitted to it."""

ROWS: Sequence[tuple[str, str, str]] = (
    ("images_per_hour", "images an hour of one annotator", ".1f"),
    ("images_per_hour_over_stage_1", "the same, over stage 1's", ".2f"),
    ("seconds_per_image", "human seconds an image", ".1f"),
    ("seconds_per_positive", "human seconds a positive pair", ".1f"),
    ("seconds_per_negative", "human seconds a negative pair", ".2f"),
    ("clicks_per_mask", "clicks a mask made or corrected", ".2f"),
    ("masks_by_hand_share", "of these, drawn by hand", ".1%"),
    ("masks_made_share", "masks made or corrected by people, over those that came out", ".1%"),
    ("precision@0.5", "precision (IoU .5)", ".1%"),
    ("recall@0.5", "recall (IoU .5)", ".1%"),
    ("precision", "precision (mean over IoU .5 to .95)", ".1%"),
    ("recall", "recall (mean over IoU .5 to .95)", ".1%"),
    ("mask_IoU", "mask IoU of matched masks", ".1%"),
    ("boundary_IoU", "boundary IoU of matched masks", ".1%"),
    ("objects_covered", "objects that came out under some phrase", ".1%"),
    ("positives_per_image", "positive pairs an image", ".1f"),
    ("negatives_per_image", "negative pairs an image", ".1f"),
    ("wrong_negatives_share", "negatives that are present in truth", ".2%"),
    ("unseen_share", "pairs that came out and that nobody saw", ".1%"),
    ("unseen_precision@0.5", "their precision (IoU .5)", ".1%"),
)
"""Figures in order: name, what it is, how it is written."""


def as_json(outcomes: Sequence[Outcome], setting: Setting, models: Mapping[str, str]) -> Json:
    """Everything, the inputs included: what is needed to judge the report or to make it again."""
    first = next((figures(one) for one in outcomes if one.stage == "1"), None)
    stages = {}
    for one in outcomes:
        found = figures(one)
        if first is not None and one.stage != "1":
            found["images_per_hour_over_stage_1"] = _over(found["images_per_hour"], first["images_per_hour"])
        stages[one.stage] = {
            "job_id": one.job.id,
            "figures": found,
            "claimed": dict(CLAIMED[one.stage]),
            "counts": counts(one),
            "quality": asdict(one.quality),
            "quality_unseen": asdict(one.unseen) if one.unseen is not None else None,
            "server": server(one),
        }
    return {
        "simulated": {
            "images": len(setting.truths),
            "objects": sum(len(image.objects) for image in setting.truths),
            "seed": setting.seed,
            "models": dict(models),
            "thresholds": setting.thresholds.model_dump(),
        },
        "stages": stages,
        "costs": {action: cost.model_dump() for action, cost in setting.costs.actions.items()},
        "mistakes": setting.mistakes.model_dump(),
        "rules": setting.rules.model_dump(),
    }


def figures(outcome: Outcome) -> dict[str, float | None]:
    """The figures of `ROWS` that one stage alone gives; None where there is nothing to divide by."""
    done, quality, unseen = outcome.done, outcome.quality, outcome.unseen
    seconds = sum(one.seconds for one in done)
    on_negatives = sum(one.negative_seconds for one in done)
    images = outcome.job.images
    made = sum(one.masks_made for one in done)
    positives, negatives = quality.positives, quality.negatives
    found: dict[str, float | None] = {
        "images_per_hour": _over(images * 3600, seconds),
        "seconds_per_image": _over(seconds, images),
        # Time goes to the pairs that people decided, what they reject included; unseen pairs took none.
        "seconds_per_positive": _over(
            seconds - on_negatives, positives - (unseen.positives if unseen else 0)
        ),
        "seconds_per_negative": _over(on_negatives, negatives - (unseen.negatives if unseen else 0)),
        "clicks_per_mask": _over(sum(one.clicks for one in done), made),
        "masks_by_hand_share": _over(sum(one.by_hand for one in done), made),
        "masks_made_share": _over(made, quality.masks),
        **{name: quality.figures[name] for name, *_ in ROWS if name in quality.figures},
        "objects_covered": outcome.covered,
        "positives_per_image": _over(positives, images),
        "negatives_per_image": _over(negatives, images),
        "wrong_negatives_share": _over(quality.wrong_negatives, negatives),
    }
    if unseen is not None:
        found["unseen_share"] = _over(unseen.positives + unseen.negatives, positives + negatives)
        found["unseen_precision@0.5"] = unseen.figures["precision@0.5"]
    return found


def counts(outcome: Outcome) -> Json:
    """What was done, in numbers."""
    done = outcome.done
    kinds = Counter((one.type, one.kind) for one in done)
    actions: Counter[str] = Counter()
    for one in done:
        actions.update({str(action): times for action, times in one.actions.items()})
    return {
        "images": outcome.job.images,
        "images_failed": len(outcome.job.failures),
        "people": outcome.people,
        "decisions": len(done),
        "decisions_by_type": {
            kind: {what: kinds[kind, what] for k, what in sorted(kinds) if k == kind}
            for kind in sorted({one.type for one in done})
        },
        "decisions_lost_in_races": outcome.lost,
        "decided_twice": len(done) - len({(one.task_id, one.round) for one in done}),
        "pairs_added": sum(len(one.added) for one in done),
        "seconds": sum(one.seconds for one in done),
        "seconds_by_type": {
            kind: sum(one.seconds for one in done if one.type == kind)
            for kind in sorted({one.type for one in done})
        },
        "actions": dict(sorted(actions.items())),
        "models_seconds": outcome.models_seconds,
        "wall_seconds": outcome.wall_seconds,
    }


def server(outcome: Outcome) -> Json:
    """What the server says of the same work."""
    stages = outcome.server.stages
    return {
        "decisions": sum(stage.decisions for stage in stages),
        "active_seconds": sum(stage.active_seconds for stage in stages),
        "people": len(outcome.server.people),
    }


def markdown(report: Json) -> str:
    """The report as a page; the plot is `report.png` beside it."""
    about, stages = report["simulated"], report["stages"]
    lines = [
        "# Simulated annotators",
        "",
        f"{about['images']} drawn scenes with {about['objects']} objects, seed {about['seed']}. The people "
        "are a program that works through the REST API; their time is accounted at fixed costs from the "
        "literature and not waited. No person was measured, and scenes are no photographs.",
        "",
        "Models: " + ", ".join(f"{name} {weights}".strip() for name, weights in about["models"].items()),
        "",
        "## Figures",
        "",
        *_table(stages),
        "",
        "`claimed` is what is published for such an engine; – where nothing is. A figure without value had "
        "nothing to divide by.",
        "",
        "![figures](report.png)",
        "",
        "## What was done",
        "",
    ]
    for number, stage in stages.items():
        lines += [f"Stage {number}, {stage['job_id']}:", "", *_done(stage), ""]
    lines += ["## Costs", "", "| action | seconds | what | source |", "|---|---:|---|---|"]
    for action, cost in report["costs"].items():
        lines.append(f"| {action} | {cost['seconds']:.2f} | {cost['meaning']} | {cost['source']} |")
    lines += ["", "## How often people err", "", "| mistake | rate |", "|---|---:|"]
    lines += [f"| {name} | {rate:g} |" for name, rate in report["mistakes"].items()]
    lines += ["", "## Rules", "", "| rule | value |", "|---|---:|"]
    lines += [f"| {name} | {value:g} |" for name, value in report["rules"].items()]
    return "\n".join(lines) + "\n"


def _table(stages: Json) -> list[str]:
    head, rule = "| figure |", "|---|"
    for number in stages:
        claims = " claimed |" if CLAIMED[_number(number)] else ""
        head += f" stage {number} |{claims}"
        rule += "---:|" + ("---:|" if claims else "")
    lines = [head, rule]
    for name, meaning, form in ROWS:
        if all(stage["figures"].get(name) is None for stage in stages.values()):
            continue
        line = f"| {meaning} |"
        for number, stage in stages.items():
            line += f" {_written(stage['figures'].get(name), form)} |"
            if CLAIMED[_number(number)]:
                line += f" {_written(stage['claimed'].get(name), form)} |"
        lines.append(line)
    return lines


def _done(stage: Json) -> list[str]:
    counted, said = stage["counts"], stage["server"]
    lines = [
        f"- {counted['people']} people made {counted['decisions']} decisions in {counted['seconds']:.0f} "
        f"simulated seconds; the server counts {said['decisions']} in {said['active_seconds']:.0f} s.",
        f"- {counted['decisions_lost_in_races']} decisions were lost in races, "
        f"{counted['decided_twice']} tasks decided twice, {counted['images_failed']} images failed.",
        f"- {counted['pairs_added']} pairs were added that the models had missed.",
    ]
    for kind, what in counted["decisions_by_type"].items():
        told = ", ".join(f"{number} {name}" for name, number in what.items())
        lines.append(f"- {kind}: {told}; {counted['seconds_by_type'][kind]:.0f} s")
    return lines


def _number(text: str) -> StageNumber:
    found: Mapping[str, StageNumber] = {"1": "1", "2": "2", "3": "3"}
    return found[text]


def _over(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _written(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)

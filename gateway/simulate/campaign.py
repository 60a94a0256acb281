"""A stage of the engine, played from submission to export."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from gateway.client import Client, ClientSettings, JobOptions, Thresholds, Upload
from gateway.schemas import FINAL_STATUSES, Job, Stage, Statistics
from gateway.simulate.costs import Costs
from gateway.simulate.measure import Asked, Quality, covered_share, judged, only
from gateway.simulate.mistakes import Mistakes
from gateway.simulate.people import Crew, Done, Play
from gateway.simulate.rules import Rules
from gateway.simulate.truth import TrueImage

StageNumber = Literal["1", "2", "3"]
STAGES: Mapping[StageNumber, Stage] = {"1": "assisted_manual", "2": "semi_automatic", "3": "automatic"}
HARD_NEGATIVES: Mapping[StageNumber, int] = {"1": 10, "2": 30, "3": 30}
"""As published for such an engine: 10 an image in stage 1, 30 from then on."""
SETTLING_SECONDS = 60.0
"""Real seconds in which the figures of the server are to have all that was decided."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """What all stages are played with."""

    truths: Sequence[TrueImage]
    costs: Costs
    mistakes: Mistakes
    rules: Rules
    seed: int
    thresholds: Thresholds
    timeout: float


@dataclass(frozen=True)
class Outcome:
    """A stage, played."""

    stage: StageNumber
    job: Job
    people: int
    done: Sequence[Done]
    lost: int
    """Decisions that a race or a lost lease took."""
    quality: Quality
    unseen: Quality | None
    """Of stage 3's pairs that no person saw; None in other stages."""
    covered: float | None
    server: Statistics
    models_seconds: float
    """Real seconds until the models were done with all images."""
    wall_seconds: float


def play(
    stage: StageNumber, setting: Setting, lead: Client, people: Sequence[Client], out: Path, tell: Tell
) -> Outcome:
    """Submit the scenes, let the people work until the job is complete, and judge what comes out.

    `lead` may submit and read figures. The export is kept in `out`. Raises `ClientError`.
    """
    began = time.monotonic()
    options = JobOptions(
        stage=STAGES[stage],
        name=f"simulation, stage {stage}",
        hard_negatives=HARD_NEGATIVES[stage],
        thresholds=setting.thresholds,
    )
    truths = {image.id: image for image in setting.truths}
    job = lead.submit(
        [Upload(image.name, image.content, len(image.content)) for image in setting.truths], options
    )
    tell(f"stage {stage}: {job.id}, {job.images} images")
    models_done = 0.0

    def see(now: Job, decided: int) -> None:
        nonlocal models_done
        if not models_done and now.status in FINAL_STATUSES:
            models_done = time.monotonic() - began
        tell(f"stage {stage}: {now.status}, {decided} decisions, {now.open_tasks} open tasks")

    crew = Crew(Play(job, truths, setting.costs, setting.mistakes, setting.rules, setting.seed), people)
    done, lost = crew.work(lead, timeout=setting.timeout, tell=see)
    job = lead.job(job.id)
    server = _settled(lead, job.id, len(done))
    export = lead.export_content(lead.create_export("saco", [job.id]))
    (out / f"stage-{stage}.saco.json").write_bytes(export)
    return Outcome(
        stage=stage,
        job=job,
        people=len(people),
        done=done,
        lost=lost,
        quality=judged(export, truths, should_come_out(stage, truths, done), setting.seed),
        unseen=judged(only(export, ["synthetic"]), truths, (), setting.seed) if stage == "3" else None,
        covered=covered_share(export, truths),
        server=server,
        models_seconds=models_done,
        wall_seconds=time.monotonic() - began,
    )


def should_come_out(stage: StageNumber, truths: Mapping[str, TrueImage], done: Sequence[Done]) -> set[Asked]:
    """The true pairs that the engine was asked for, beside those that came out.

    In every stage: what was proposed as a positive and is one. In stage 1: the guideline's label of every
    object. In stage 2: that of every object that no proposed phrase holds for, for people are to add them.
    """
    proposed = {(one.image_id, one.phrase) for one in done if one.proposed}
    wanted = {(image, phrase) for image, phrase in proposed if truths[image].holding(phrase)}
    if stage == "3":
        return wanted
    for image_id, image in truths.items():
        covered: set[int] = set()
        if stage == "2":
            covered = {n for at, phrase in wanted if at == image_id for n in image.holding(phrase)}
        wanted |= {(image_id, o.label) for n, o in enumerate(image.objects) if n not in covered}
    return wanted


def key_holders(
    lead: Client, count: int, tokens: Sequence[str], connect: Callable[[ClientSettings], Client]
) -> tuple[list[Client], list[str]]:
    """A client for each person: of the given keys, else of new ones, whose ids come along to be revoked.

    Raises `Forbidden` where no keys are given and the caller's may make none.
    """
    made = []
    if not tokens:
        keys = [
            lead.create_key(f"simulated annotator {number + 1}", ["annotator", "verifier"])
            for number in range(count)
        ]
        made, tokens = [key.id for key in keys], [key.token for key in keys]
    with_key = (lead.settings.model_copy(update={"api_key": SecretStr(token)}) for token in tokens)
    return [connect(settings) for settings in with_key], made


def _settled(lead: Client, job_id: str, decisions: int) -> Statistics:
    """The server's figures once they have all decisions, or after a while as they are."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        found = lead.statistics(job_id=job_id)
        if sum(stage.decisions for stage in found.stages) >= decisions or time.monotonic() > deadline:
            return found
        time.sleep(0.3)

"""`make bench`: one run on a private stack; tables on the terminal, JSON and Markdown in .tercet/bench.
`python -m tests.bench sam` measures SAM alone, against segment-anything.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from deploy.local.lifecycle import LocalStack, private_stack
from deploy.local.spec import HOME, INFRASTRUCTURE, REPOSITORY
from gateway.client import Client
from gateway.client.settings import ClientSettings
from services.kit.blobs.store import connect as connect_blobs
from services.kit.inference.ports import Inference
from services.kit.inference.triton import connect as connect_triton
from services.kit.settings import KitSettings
from services.kit.state.redis import connect as connect_redis
from tercet.v1 import records_pb2
from tests.bench import alone, calls, machine, pipeline, report, sam
from tests.bench.alone import Alone
from tests.bench.pictures import Picture, in_other_bytes, scenes
from tests.bench.report import Results

WARM_UP_IMAGES = 4
NARROWEST = 120
"""Columns that the tables need; a log has 80."""


def main(arguments: Sequence[str]) -> int:
    """The exit code of the command."""
    if arguments[:1] == ["sam"]:
        return sam.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--images",
        type=_positive,
        default=_positive(os.environ.get("TERCET_BENCH_IMAGES", "120")),
        help="scenes in a job (default: TERCET_BENCH_IMAGES, or 120)",
    )
    parser.add_argument(
        "--rounds", type=_positive, default=2, help="jobs, each between two passes of bare calls (default 2)"
    )
    parser.add_argument("--out", type=Path, default=HOME / "bench", help="folder of results.json and .md")
    given = parser.parse_args(arguments)
    console = Console(width=max(Console().width, NARROWEST))
    results = Results(
        images=given.images,
        processor=machine.processor(),
        cores=machine.cores(),
        commit=_commit(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    pictures = scenes(given.images)
    console.print(f"bench: {given.images} scenes; starting a private stack", style="bold")
    with private_stack() as stack:
        _measure(stack, pictures, results, given.rounds, console)
    given.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "ratio": results.ratio,
        "bare_images_per_second": results.bare_rate,
        "pipeline_images_per_second": results.pipeline_rate,
        "bare_processor_seconds_an_image": results.bare_cost,
        "pipeline_processor_seconds_an_image": results.pipeline_cost,
        "share_of_processors_taken_by_others": results.disturbance,
        **asdict(results),
    }
    (given.out / "results.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    (given.out / "results.md").write_text(report.markdown(results), "utf-8")
    report.show(results, console)
    console.print(f"written: {given.out / 'results.json'}, {given.out / 'results.md'}")
    return 0


def _measure(
    stack: LocalStack, pictures: Sequence[Picture], results: Results, rounds: int, console: Console
) -> None:
    everything = machine.names(stack)
    infrastructure = [name for name in everything if name.partition("-")[0] in INFRASTRUCTURE]
    console.print("starting each process anew")
    for name in everything:
        if name not in infrastructure:
            results.start[name] = machine.restarted(stack, name)
    results.idle = machine.memory(stack)

    settings = KitSettings(triton_url=stack.environment["TERCET_TRITON_URL"])
    inference = connect_triton(settings.triton_url, settings=settings)
    limit = 120.0 + 10 * len(pictures)
    with Client(_client_settings(stack)) as client:
        console.print("warming up")
        warm_up = pipeline.run(stack, client, _renewed(pictures[:WARM_UP_IMAGES], "warm up"), limit=limit)
        first = records_pb2.ImageSubmitted.FromString(pipeline.specification(stack, warm_up.job_id).value)
        console.print("each service alone")
        found = _alone(stack, pictures, first.run.spec, inference)
        results.alone, results.overhead = found.rates, found.overhead
        for number in range(rounds):
            if number == 0:
                _bare(stack, pictures, inference, found, results, console)
            sent = _renewed(pictures, f"job {number}")
            job = pipeline.run(stack, client, sent, limit=limit)
            results.passes.append(job)
            console.print(f"pipeline: {job.images / job.seconds:.2f} images/s")
            _bare(stack, pictures, inference, found, results, console)
    inference.close()
    results.after = machine.memory(stack)

    console.print("starting Kafka, Redis and Triton anew")
    for name in everything:
        if name not in infrastructure:
            stack.stop(name)
    for name in infrastructure:
        results.start[name] = machine.restarted(stack, name)


def _alone(
    stack: LocalStack,
    pictures: Sequence[Picture],
    spec: records_pb2.JobSpec,
    inference: Inference,
) -> Alone:
    # The stack's Redis, another of its databases; the blobs in a folder of their own.
    state = connect_redis(stack.environment["TERCET_REDIS_URL"].rpartition("/")[0] + "/1")
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as folder:
        return alone.run(pictures, spec, inference, connect_blobs(Path(folder).as_uri()), state)


def _bare(
    stack: LocalStack,
    pictures: Sequence[Picture],
    inference: Inference,
    found: Alone,
    results: Results,
    console: Console,
) -> None:
    label = f"bare {len(results.bare)}"
    sent = {picture.content: in_other_bytes(picture.content, label) for picture in pictures}
    before = machine.busy(stack)
    bare = calls.make_again(inference, found.recorded, sent, alone.THREADS)
    results.bare_processors.append(machine.shares(before, machine.busy(stack)))
    results.bare.append(bare)
    console.print(f"bare model calls: {bare.images / bare.seconds:.2f} images/s")


def _renewed(pictures: Sequence[Picture], label: str) -> list[Picture]:
    return [Picture(picture.name, in_other_bytes(picture.content, label)) for picture in pictures]


def _client_settings(stack: LocalStack) -> ClientSettings:
    key = Path(stack.environment["TERCET_KEY_FILE"]).read_text("utf-8").split()[0]
    return ClientSettings.model_validate(
        {"TERCET_URL": stack.environment["TERCET_URL"], "TERCET_API_KEY": SecretStr(key)}
    )


def _commit() -> str:
    """The commit that is measured; unknown outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"
    return found.stdout.strip()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m deploy.demo [--stack]`."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Annotated

import typer
from rich.console import Console

from deploy.demo.engine import Engine, EngineFailed, embedded_engine, tail
from deploy.demo.outcome import collect, show
from gateway.cli.failures import tell
from gateway.cli.jobs import Stage
from gateway.cli.progress import StepTimes, follow
from gateway.client import Client, ClientError, ClientSettings, JobOptions
from gateway.schemas import Thresholds
from services.scenes.dataset import write_dataset

MODELS = frozenset({"sam", "concept_grounder", "concept_proposer", "verifier"})
MODELS_SECONDS = 180.0
FAILED = 1
INTERRUPTED = 130
ACCEPT_ABOVE, REJECT_BELOW = 0.7, 0.4
"""Looser than a job's own, for more to see: the small bundled models are seldom sure of a positive pair."""


def main(
    stack: Annotated[bool, typer.Option("--stack", help="Use the stack that runs at TERCET_URL.")] = False,
    images: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 24,
    stage: Annotated[Stage, typer.Option(help="How they are worked on.")] = "automatic",
    accept_above: Annotated[
        float, typer.Option(min=0, max=1, help="A pair scoring above this joins the dataset unseen.")
    ] = ACCEPT_ABOVE,
    reject_below: Annotated[
        float, typer.Option(min=0, max=1, help="A pair scoring below this is rejected.")
    ] = REJECT_BELOW,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first scene.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for everything. Default: .tercet/demo, or .tercet/demo-stack.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the gateway running until Ctrl-C.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for the job at most.")] = 900.0,
) -> None:
    """Draw scenes, send them through the engine by REST, and show what came out."""
    console = Console(highlight=False, soft_wrap=True)
    folder = (out or Path(".tercet", "demo-stack" if stack else "demo")).absolute()
    try:
        with _terminable(), _alone(folder):
            thresholds = Thresholds(accept_above=accept_above, reject_below=reject_below)
            options = JobOptions(stage=stage, name="demo", thresholds=thresholds)
            if not _run(console, folder, stack, images, options, seed, keep, timeout):
                raise typer.Exit(FAILED)
    except KeyboardInterrupt:
        tell("interrupted; nothing is left running" if not stack else "interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (ClientError, OSError) as error:
        tell(str(error))
        raise typer.Exit(FAILED) from None
    except EngineFailed as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(FAILED) from None


def _run(
    console: Console,
    folder: Path,
    stack: bool,
    images: int,
    options: JobOptions,
    seed: int,
    keep: bool,
    timeout: float,
) -> bool:
    """Whether every image is accounted for."""
    _clear(folder)
    scenes = folder / "scenes"
    with console.status(f"drawing {images} scenes"):
        write_dataset(images, scenes, seed)
    sent = sorted((scenes / "images").iterdir())
    console.print(f"{len(sent)} scenes in {_short(scenes)}", markup=False)

    with ExitStack() as running:
        engine: Engine | None = None
        if not stack:
            with console.status("starting the engine, all of it in one process"):
                engine = running.enter_context(embedded_engine(folder / "state", folder / "engine.log"))
        settings = engine.settings if engine else ClientSettings()
        client = running.enter_context(Client(settings))
        console.print(f"gateway at {settings.url}", markup=False)
        try:
            with console.status("loading the models"):
                _await_models(client, console)
            times = StepTimes()
            job = client.submit(scenes / "images", options)
            console.print(f"{job.id}: {job.images} images submitted, stage {job.stage}", markup=False)
            if options.stage == "automatic" and options.thresholds != Thresholds():
                console.print(
                    f"pairs scoring above {options.thresholds.accept_above:g} are accepted here, for more to "
                    f"see; some of these are wrong (a job's own threshold is {Thresholds().accept_above:g})"
                )
            job = follow(client.watch(job.id, timeout=timeout), console, times)
            with console.status("fetching annotations, overlays and datasets"):
                outcome = collect(client, job, sent, folder)
        except ClientError:
            if engine is not None:
                print(f"the end of {engine.log}:\n{tail(engine.log)}", file=sys.stderr)
            raise
        show(outcome, times, console)
        for line in outcome.missing:
            tell(line)
        if outcome.missing:
            tell(f"{len(outcome.missing)} images are not accounted for as they must be")
        else:
            console.print("\nTry next:", style="bold")
            if stack:
                key_file = settings.key_file if "key_file" in settings.model_fields_set else None
                _next_steps(console, settings, key_file, sent[0], job.id)
            elif keep:
                _next_steps(console, settings, settings.key_file, sent[0], job.id)
            else:
                _next_commands(console)
        if keep and engine is not None:
            _stay(console, engine)
        return not outcome.missing


def _await_models(client: Client, console: Console) -> None:
    """Until they are loaded, so that the times are those of the work; it would wait for them, too."""
    deadline = time.monotonic() + MODELS_SECONDS
    served = client.models()
    while (missing := MODELS - {model.name for model in served}) and time.monotonic() < deadline:
        time.sleep(0.5)
        served = client.models()
    if missing:
        told = ", ".join(sorted(missing))
        console.print(f"not loaded after {MODELS_SECONDS:g} s: {told}; going on without", markup=False)
    console.print(
        "models: " + ", ".join(f"{model.name} {model.weights}".strip() for model in served), markup=False
    )


def _next_steps(
    console: Console, settings: ClientSettings, key_file: Path | None, image: Path, job_id: str
) -> None:
    """Commands that work as they are on the gateway that runs; `key_file` where its key must be told."""
    image_id = hashlib.sha256(image.read_bytes()).hexdigest()
    told = f" TERCET_KEY_FILE={_short(key_file)}" if key_file is not None else ""
    for line in (
        f"  export TERCET_URL={settings.url}{told}",
        f"  .venv/bin/tercet jobs show {job_id}",
        f"  .venv/bin/tercet images annotations {image_id}",
        "  .venv/bin/tercet lag",
        "  .venv/bin/tercet jobs submit YOUR-FOLDER --stage automatic --watch",
        f"  open {settings.url}/docs",
    ):
        console.print(line, markup=False)


def _next_commands(console: Console) -> None:
    """What to do when nothing is left running."""
    for line in (
        "  make demo ARGS=--keep    the same, and the gateway stays for `tercet` and the browser",
        "  make run                 the gateway for your own images; then in another terminal:",
        "  .venv/bin/tercet jobs submit YOUR-FOLDER --stage automatic --watch",
        "  make demo STACK=1        the same through Kafka, Redis, gRPC and Triton",
    ):
        console.print(line, markup=False)


def _stay(console: Console, engine: Engine) -> None:
    console.print("The gateway stays; Ctrl-C stops it.", style="bold")
    engine.process.wait()
    raise EngineFailed(f"the engine ended with code {engine.process.returncode}:\n{tail(engine.log)}")


def _clear(folder: Path) -> None:
    """Only what a demo has made: a wrong --out costs nobody a file."""
    for name in ("scenes", "state", "overlays"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    for name in ("contact-sheet.png", "dataset.saco.json", "dataset.coco.json", "engine.log"):
        (folder / name).unlink(missing_ok=True)
    (folder / "state").mkdir(parents=True)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, so that the child is stopped then, too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One demo a folder. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        _lock(lock, folder)
        yield


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system; two demos at once are then the user's own care
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OSError(f"another demo is running in {folder}; give this one another --out") from error


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app(prog_name="python -m deploy.demo")

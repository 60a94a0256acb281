"""`tercet simulate`: annotators played by a program, through the REST API, on scenes whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli.failures import REFUSED, tell
from gateway.cli.session import Json, Session, client_of, print_json, stderr, stdout

if TYPE_CHECKING:
    from gateway.client import Client, ClientSettings
    from gateway.simulate.campaign import Setting, StageNumber

StageChoice = Literal["1", "2", "3", "all"]
Difficulty = Literal["easy", "medium", "hard"]


def simulate(
    context: typer.Context,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for report.json, report.md, report.png and the exports."),
    ],
    images: Annotated[int, typer.Option(min=1, help="How many scenes are drawn.")] = 50,
    stage: Annotated[StageChoice, typer.Option(help="Which of the three stages is played.")] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Of the first scene, and of the people's mistakes.")] = 0,
    people: Annotated[int, typer.Option(min=2, max=50, help="How many work at once.")] = 3,
    costs: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON: seconds and source of each action.", exists=True, dir_okay=False),
    ] = None,
    error_rates: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON: how often people err.", exists=True, dir_okay=False),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="API keys of the people, one a line. Default: made for this run and revoked after it.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    difficulty: Annotated[Difficulty, typer.Option(help="Of the scenes.")] = "medium",
    side: Annotated[
        int, typer.Option(min=64, max=4096, help="Width and height of the scenes in pixels.")
    ] = 256,
    accept_above: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Stage 3: a pair scoring above joins the dataset unseen."),
    ] = None,
    reject_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="Stage 3: a pair scoring below is rejected.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Real seconds for each stage at most.")] = 7200.0,
    as_json: Json = False,
) -> None:
    """Play annotators and measure: human seconds, images an hour, precision, recall, boundary IoU.

    Needs a running gateway and a key that may submit and, without --keys, make keys. Time is accounted at
    fixed costs from the literature, not waited. docs/simulation.md tells the rules.
    """
    try:
        from gateway.simulate import plot, report
        from gateway.simulate.campaign import STAGES
        from services.core.errors import InvalidInput
    except ImportError as error:
        tell(f"this installation cannot simulate ({error}); install the extras `services` and `evaluation`")
        raise typer.Exit(REFUSED) from None
    try:
        given = {"accept_above": accept_above, "reject_below": reject_below}
        setting = _setting(images, seed, costs, error_rates, difficulty, side, given, timeout)
    except InvalidInput as error:
        tell(str(error))
        raise typer.Exit(REFUSED) from None
    out.mkdir(parents=True, exist_ok=True)
    wanted: list[StageNumber] = [number for number in STAGES if stage in (number, "all")]
    found = _played(context, wanted, setting, people, _tokens(keys), out)
    (out / "report.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    page = report.markdown(found)
    (out / "report.md").write_text(page, "utf-8")
    try:
        plot.draw(found, out / "report.png")
    except ImportError as error:
        tell(f"no plot was drawn ({error}); install matplotlib")
    if as_json:
        print_json(found)
    else:
        stdout().print(
            page.split("## What was done")[0].replace("![figures](report.png)\n\n", ""), markup=False
        )
        stdout().print(f"all of it: {out / 'report.md'}", markup=False)


def _setting(
    images: int,
    seed: int,
    costs: Path | None,
    error_rates: Path | None,
    difficulty: str,
    side: int,
    thresholds: dict[str, float | None],
    timeout: float,
) -> Setting:
    from gateway.client import Thresholds
    from gateway.simulate import scenes
    from gateway.simulate.campaign import Setting
    from gateway.simulate.costs import read_costs
    from gateway.simulate.mistakes import read_mistakes
    from gateway.simulate.rules import Rules

    read, errs = read_costs(costs), read_mistakes(error_rates)
    with stderr().status(f"drawing {images} scenes"):
        truths = scenes.draw(images, seed, difficulty=difficulty, side=side)
    return Setting(
        truths=truths,
        costs=read,
        mistakes=errs,
        rules=Rules(),
        seed=seed,
        thresholds=Thresholds.model_validate({k: v for k, v in thresholds.items() if v is not None}),
        timeout=timeout,
    )


def _played(
    context: typer.Context,
    wanted: list[StageNumber],
    setting: Setting,
    people: int,
    tokens: list[str],
    out: Path,
) -> dict[str, Any]:
    from gateway.simulate import report
    from gateway.simulate.campaign import play

    with client_of(context) as lead, _at_work(context, lead, people, tokens) as clients:
        with stderr().status("starting") as progress:
            outcomes = [play(number, setting, lead, clients, out, progress.update) for number in wanted]
        # Afterwards: an engine that has just started has not loaded them yet.
        models = {model.name: model.weights for model in lead.models()}
    return report.as_json(outcomes, setting, models)


@contextmanager
def _at_work(context: typer.Context, lead: Client, people: int, tokens: list[str]) -> Iterator[list[Client]]:
    """The people's clients; keys that were made for them are revoked at the end."""
    from gateway.client import Client
    from gateway.simulate.campaign import key_holders

    transport = (context.find_object(Session) or Session()).transport

    def connect(settings: ClientSettings) -> Client:
        return Client(settings, transport=transport)

    clients, made = key_holders(lead, people, tokens, connect)
    with ExitStack() as open_clients:
        for key_id in made:
            open_clients.callback(lead.revoke_key, key_id)
        yield [open_clients.enter_context(client) for client in clients]


def _tokens(keys: Path | None) -> list[str]:
    if keys is None:
        return []
    tokens = [line.strip() for line in keys.read_text("utf-8").splitlines() if line.strip()]
    if len(tokens) < 2:
        raise typer.BadParameter("a second person's check needs two keys at least", param_hint="--keys")
    return tokens

"""The tree of commands. Each loads the client only when it runs: `tercet --help` is quick."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from gateway.cli import (
    dead_letters,
    evaluate,
    exports,
    figures,
    images,
    jobs,
    keys,
    operations,
    reviews,
    scenes,
    simulate,
)
from gateway.cli.failures import ReportingGroup
from gateway.cli.session import Session

app = typer.Typer(
    cls=ReportingGroup,
    help="Tercet, a data engine for concept segmentation: submit images, watch jobs, export datasets.",
    epilog="Exit codes: 0 done; 1 images failed or were refused; 2 usage; 3 no gateway answers; 4 key; "
    "5 not found; 6 refused; 7 not now; 8 not as promised; 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(help="The gateway. Default: TERCET_URL, else http://127.0.0.1:8080.")
    ] = None,
) -> None:
    given = context.find_object(Session) or Session()
    context.obj = replace(given, url=url) if url else given


app.add_typer(jobs.app, name="jobs")
app.add_typer(images.app, name="images")
app.add_typer(exports.app, name="exports")
app.add_typer(reviews.app, name="reviews")
app.command("pairs")(figures.pairs)
app.command("statistics")(figures.statistics)
app.command("whoami")(figures.whoami)
app.command("lag")(operations.lag)
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(operations.models, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(scenes.app, name="scenes")
app.command("evaluate")(evaluate.evaluate)
app.command("simulate")(simulate.simulate)

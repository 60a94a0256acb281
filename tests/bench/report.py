"""The figures as tables: for the terminal and, the same, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from tests.bench import machine, pipeline
from tests.bench.calls import Bare
from tests.bench.machine import Memory, Start
from tests.bench.pipeline import Pass

_MIB = 2**20


@dataclass
class Results:
    """Everything that was measured. Rates are images a second."""

    images: int
    processor: str
    cores: int
    commit: str
    at: str
    """UTC."""
    bare: list[Bare] = field(default_factory=list)
    bare_processors: list[dict[str, float]] = field(default_factory=list)
    """Share of the machine's processors' time, by process, in each bare pass."""
    passes: list[Pass] = field(default_factory=list)
    alone: dict[str, float] = field(default_factory=dict)
    overhead: dict[str, float] = field(default_factory=dict)
    """Share of a stage's thread time, alone, in which no model call of it is under way."""
    start: dict[str, Start] = field(default_factory=dict)
    idle: dict[str, Memory] = field(default_factory=dict)
    after: dict[str, Memory] = field(default_factory=dict)

    @property
    def bare_rate(self) -> float:
        return sum(each.images for each in self.bare) / sum(each.seconds for each in self.bare)

    @property
    def pipeline_rate(self) -> float:
        return sum(each.images for each in self.passes) / sum(each.seconds for each in self.passes)

    @property
    def ratio(self) -> float:
        """Of the pipeline's throughput to that of the bare calls."""
        return self.pipeline_rate / self.bare_rate

    @property
    def bare_cost(self) -> float:
        """Processor seconds of a bare image: Triton's and those of the calling process."""
        share = fmean(each["triton"] + each[machine.BENCH] for each in self.bare_processors)
        return share * self.cores / self.bare_rate

    @property
    def pipeline_cost(self) -> float:
        """Processor seconds of an image in the pipeline: those of every process of the stack."""
        ours = _mean([each.processors for each in self.passes])
        share = sum(part for name, part in ours.items() if name not in machine.NOT_THE_STACK)
        return share * self.cores / self.pipeline_rate

    @property
    def disturbance(self) -> float:
        """Share of the processors' time that others on the machine took during the measurements."""
        looks = [*self.bare_processors, *(each.processors for each in self.passes)]
        return fmean(each[machine.OTHERS] for each in looks)


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; columns but the first are figures."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(results: Results) -> list[Table]:
    """All of them, in the order of the questions that they answer."""
    return [_throughput(results), _processors(results), _steps(results), _workers(results), _each(results)]


def _throughput(results: Results) -> Table:
    bare = [each.images / each.seconds for each in results.bare]
    piped = [each.images / each.seconds for each in results.passes]
    per_image = {
        "bare": _per_image(results.bare[0].calls, results.images),
        "piped": _per_image(results.passes[0].calls, results.passes[0].images),
    }
    rows = [
        ("bare model calls", f"{results.bare_rate:.2f}", _spread(bare), per_image["bare"]),
        ("pipeline, 202 to all results", f"{results.pipeline_rate:.2f}", _spread(piped), per_image["piped"]),
        (
            "pipeline, request to all results",
            f"{_rate(results, lambda each: each.submit + each.seconds):.2f}",
            "",
            "",
        ),
        (
            "pipeline, 202 to the last result in the log",
            f"{_rate(results, lambda each: each.last_result):.2f}",
            "",
            "",
        ),
        ("pipeline / bare", f"{results.ratio:.0%}", "", ""),
        (
            "the same by processor time an image",
            f"{results.bare_cost / results.pipeline_cost:.0%}",
            f"{1000 * results.bare_cost:.0f} of {1000 * results.pipeline_cost:.0f} ms",
            "",
        ),
    ]
    return Table(
        "Throughput",
        ("", "images/s", "least to most", "model calls an image"),
        rows,
        f"{results.images} scenes of 256x256 pixels, {len(results.passes)} jobs between "
        f"{len(results.bare)} passes of bare calls. Others on the machine took {results.disturbance:.0%} of "
        "its processors meanwhile; the last line is the one that they disturb least.",
    )


def _processors(results: Results) -> Table:
    bare = _mean(results.bare_processors)
    piped = _mean([each.processors for each in results.passes])
    per_bare = results.cores / results.bare_rate
    per_piped = results.cores / results.pipeline_rate
    rows = [
        (
            name,
            f"{bare.get(name, 0):.1%}",
            f"{share:.1%}",
            f"{1000 * bare.get(name, 0) * per_bare:.0f}",
            f"{1000 * share * per_piped:.0f}",
        )
        for name, share in piped.items()
    ]
    return Table(
        "Where the machine's processors go",
        ("process", "bare", "pipeline", "ms an image, bare", "ms an image, pipeline"),
        [*rows, ("all", "100%", "100%", f"{1000 * per_bare:.0f}", f"{1000 * per_piped:.0f}")],
        f"Shares of the time of {results.cores} processors. In the bare passes this benchmark makes the "
        "calls itself and the services wait for work; in the others it waits for the job.",
    )


def _steps(results: Results) -> Table:
    """An image's time from its submission to its result, step by step."""
    whole = sum(sum(each.residence.values()) for each in results.passes)
    rows = []
    commit_before = 0.0
    for name in pipeline.STEPS:
        residence = sum(each.residence[name] for each in results.passes)
        batch = sum(each.workers[name].batch / max(1, each.workers[name].batches) for each in results.passes)
        commit = sum(
            each.workers[name].commit / max(1, each.workers[name].batches) for each in results.passes
        )
        model = sum(each.workers[name].model / each.images for each in results.passes)
        queue = residence - batch - commit_before
        parts = (queue, model, batch - model, commit_before)
        rows.append(
            (
                name,
                f"{residence / len(results.passes):.2f} s",
                *(f"{part / whole:.1%}" for part in (*parts, residence)),
            )
        )
        commit_before = commit
    return Table(
        "Where an image's time goes, from its submission to its result",
        ("step", "time", "waits in the topic", "model calls", "rest of the batch", "commit before", "all"),
        rows,
        "All images are submitted at once: an image also waits for those before it. `rest of the batch`: "
        "waiting for a thread and for the batch's other images, decoding, encoding, the service's own work. "
        "`commit before`: the transaction that wrote the record which the step reads. Made of the batches' "
        "means, so that small figures can be off by a little.",
    )


def _workers(results: Results) -> Table:
    rows = []
    whole = sum(each.seconds for each in results.passes)
    for name in pipeline.GROUPS:
        worked = [each.workers[name] for each in results.passes]
        batch, commit = sum(each.batch for each in worked), sum(each.commit for each in worked)
        model = sum(each.model for each in worked)
        batches = sum(each.batches for each in worked)
        rows.append(
            (
                name,
                f"{batch / whole:.1%}",
                f"{commit / whole:.1%}",
                f"{max(0.0, 1 - (batch + commit) / whole):.1%}",
                f"{model / batch:.1f}" if model and batch else "-",
                f"{results.images * len(results.passes) / batches:.1f}" if batches else "-",
                f"{1000 * commit / batches:.0f} ms" if batches else "-",
            )
        )
    return Table(
        "What each worker does in that time",
        ("worker", "works", "commits", "waits", "model calls at a time", "images a batch", "a commit"),
        rows,
    )


def _each(results: Results) -> Table:
    busy = {
        name: results.images
        * len(results.passes)
        / max(1e-9, sum(each.workers[name].batch + each.workers[name].commit for each in results.passes))
        for name in pipeline.GROUPS
    }
    submitted = _rate(results, lambda each: each.submit)
    rows = []
    for name in results.after:
        part = name.rpartition("-")[0] or name
        idle, after = results.idle[name], results.after[name]
        alone, piped = results.alone.get(part), busy.get(part)
        if part == "gateway":
            piped = submitted
        if part == "triton":
            alone = results.bare_rate
            piped = results.pipeline_rate
        rows.append(
            (
                part,
                f"{results.start[name].seconds:.1f} s",
                f"{results.start[name].processor:.1f} s",
                f"{idle.now / _MIB:.0f} MiB",
                f"{after.now / _MIB:.0f} MiB",
                f"{after.peak / _MIB:.0f} MiB",
                f"{alone:.1f}" if alone else "-",
                f"{piped:.1f}" if piped else "-",
            )
        )
    return Table(
        "What each process costs",
        (
            "process",
            "start-up",
            "of it processor",
            "memory idle",
            "after the run",
            "at most",
            "images/s alone",
            "in the pipeline",
        ),
        rows,
        "Start-up: from spawning to ready (gRPC health SERVING), the rest of the stack running; `of it "
        "processor`: its own processor time by then, all cores together. Memory: resident, of Triton with "
        "its model processes. Alone: the service's handlers in bulk without Kafka and with the machine to "
        "themselves, model calls included; of Triton, all bare calls. In the pipeline: while its worker had "
        "work, beside all the others; of the gateway, taking the images.",
    )


def show(results: Results, console: Console) -> None:
    """All tables on the terminal."""
    for table in tables(results):
        drawn = RichTable(
            box=box.SIMPLE_HEAD, title=table.title, title_justify="left", caption_justify="left"
        )
        for number, heading in enumerate(table.headings):
            drawn.add_column(heading, justify="left" if number == 0 else "right")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
        if table.note:
            console.print(table.note, style="dim")
            console.print()


def markdown(results: Results) -> str:
    """All tables as Markdown."""
    lines = [
        f"Measured by `make bench` on {results.at[:10]} at {results.commit}, on {results.cores} cores of "
        f"{results.processor}, one replica of each service.",
    ]
    for table in tables(results):
        lines += ["", f"**{table.title}**", "", *_markdown_rows(table)]
        if table.note:
            lines += ["", table.note]
    return "\n".join(lines) + "\n"


def _markdown_rows(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(table.headings) + " |"
    yield "|---|" + "---:|" * (len(table.headings) - 1)
    for row in table.rows:
        yield "| " + " | ".join(row) + " |"


def _mean(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    known = list(dict.fromkeys(name for each in shares for name in each))
    return {name: fmean(each.get(name, 0.0) for each in shares) for name in known}


def _per_image(calls: Mapping[str, int], images: int) -> str:
    return ", ".join(f"{model} {number / images:.2f}" for model, number in sorted(calls.items()))


def _rate(results: Results, seconds: Callable[[Pass], float]) -> float:
    return sum(each.images for each in results.passes) / max(1e-9, sum(map(seconds, results.passes)))


def _spread(rates: Sequence[float]) -> str:
    return f"{min(rates):.2f} to {max(rates):.2f}"

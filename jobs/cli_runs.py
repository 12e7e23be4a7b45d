"""The commands `gristmill runs` and `gristmill report`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.table import Table as Grid

from jobs.cli_common import OUTPUT, job_options, settings_options
from jobs.settings import load_settings_of

if TYPE_CHECKING:
    from jobs.runs import Comparison, LoggedRun

_SHORT = 8
_LEAST_WIDTH = 150  # of what is shown: cells that are cut to a letter tell nothing
_NUMBERS = {
    "rows": "rows",
    "completed": "completed",
    "hits": "ledger",
    "errors": "errors",
    "input_tokens": "tokens in",
    "output_tokens": "tokens out",
}
# A stream counts rows that were asked, not distinct prompts.
_OF_STREAM = {"completed": "new", "hits": "cached"}


@click.command()
@job_options
@click.argument("runs", nargs=-1, metavar="[RUN RUN]")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, metavar="N")
def runs(
    conf: Path, sets: tuple[str, ...], as_json: bool, runs: tuple[str, ...], most: int
) -> None:
    """List the runs of a job's MLflow experiment, or compare two: by run id, or `last`."""
    from jobs.runs import Runs, RunsConf, compared, runs_json

    if len(runs) not in (0, 2):
        raise click.UsageError("expected two runs to compare, or none to list")
    kept = Runs(load_settings_of(RunsConf, conf, sets))
    if runs:
        comparison = compared(*(kept.find(it) for it in runs))
        _show(_compared(comparison), comparison.json(), as_json)
        return
    found = kept.newest(most)
    _show(_listed(found), runs_json(found), as_json)


@click.command()
@settings_options
@click.argument("run")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; default: JOB-RUN.html here.",
)
def report(conf: Path, sets: tuple[str, ...], run: str, output: Path | None) -> None:
    """Write one HTML page of a run, with plots; RUN is its id, the beginning of it, or `last`."""
    from jobs.run_page import run_page
    from jobs.runs import Runs, RunsConf

    kept = Runs(load_settings_of(RunsConf, conf, sets))
    found = kept.find(run)
    file = output or Path(f"{found.job}-{found.run_id[:_SHORT]}.html")
    file.write_text(run_page(found, kept.record(found), kept.series_of(found)), "utf-8")
    click.echo(file)


def _show(shown: "Grid | Group", as_object: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(as_object + "\n")
    else:
        Console(width=max(OUTPUT.width, _LEAST_WIDTH)).print(shown)


def _listed(runs: "list[LoggedRun]") -> Grid:
    grid = Grid(box=None, pad_edge=False)
    for name in ("run", "job", "began (UTC)", "state"):
        grid.add_column(name, no_wrap=True)
    for name in (*_NUMBERS.values(), "cost", "seconds"):
        grid.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        error = run.about.get("error", "")
        grid.add_row(
            run.run_id[:_SHORT],
            run.job,
            run.began_at[:16].replace("T", " "),
            f"{run.state.lower()}: {error}" if error else run.state.lower(),
            *(_number(_count(run, name)) for name in _NUMBERS),
            _cost(run),
            _number(run.seconds, ".1f"),
        )
    return grid


def _compared(comparison: "Comparison") -> Group:
    first, second = comparison.first, comparison.second
    grid = Grid("", first.run_id[:_SHORT], second.run_id[:_SHORT], "ratio", box=None)
    for column in grid.columns[1:]:
        column.justify = "right"
    for name, it in comparison.numbers.items():
        ratio = "" if it.ratio is None else f"{it.ratio:.2f}"
        grid.add_row(name, _number(it.first, "g"), _number(it.second, "g"), ratio)
    words = Grid("", first.run_id[:_SHORT], second.run_id[:_SHORT], box=None)
    for column in words.columns:
        column.overflow = "fold"
    words.add_row("job", first.job, second.job)
    words.add_row("began (UTC)", first.began_at[:19], second.began_at[:19])
    words.add_row("state", first.state.lower(), second.state.lower())
    for name, pair in {**comparison.about, **comparison.settings}.items():
        words.add_row(name, *(it or "" for it in pair))
    return Group(words, "", grid)


def _count(run: "LoggedRun", name: str) -> float | None:
    return run.numbers.get(name, run.numbers.get(_OF_STREAM.get(name, name)))


def _number(value: float | None, form: str = ".0f") -> str:
    if value is None:
        return "-"
    return f"{value:,.6g}" if form == "g" else f"{value:,{form}}"


def _cost(run: "LoggedRun") -> str:
    cost = run.numbers.get("cost")
    return "-" if cost is None else f"{cost:,.4f} {run.about.get('currency', '')}"

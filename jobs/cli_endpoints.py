"""The commands `gristmill endpoints` and `gristmill ask`."""

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

import click
from rich.table import Table as Grid

from jobs.cli_common import OUTPUT, job_options, show


@click.command()
@job_options
def endpoints(conf: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """List the models of the settings' endpoints, with their tasks and states."""
    from chains.models.endpoint.listing import EndpointModelState
    from jobs.endpoints import run_endpoints

    found = [asdict(it) for it in run_endpoints(conf, sets)]
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    grid = Grid(*(field.name for field in fields(EndpointModelState)), box=None)
    for row in found:
        grid.add_row(*(value or "-" for value in row.values()))
    OUTPUT.print(grid)


@click.command()
@job_options
@click.argument("endpoint", metavar="NAME[/MODEL]")
@click.argument("prompt")
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True)
def ask(
    conf: Path,
    sets: tuple[str, ...],
    as_json: bool,
    endpoint: str,
    prompt: str,
    max_tokens: int,
) -> None:
    """Send one prompt to an endpoint; print the answer, its tokens and its time."""
    from jobs.endpoints import run_ask

    report = run_ask(conf, endpoint, prompt, max_tokens, sets)
    unknown = "not told"
    lines = {
        "model": report.model,
        "answer": report.answer,
        "finish reason": report.finish_reason or unknown,
        "tokens": f"{report.input_tokens or unknown} in, {report.output_tokens or unknown} out",
        "time": f"{report.seconds:.2f} s",
    }
    show(report.json(), lines, as_json)

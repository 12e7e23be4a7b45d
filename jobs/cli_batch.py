"""The commands `gristmill batch` and `gristmill plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli_common import (
    ERRORS,
    budget_options,
    common_lines,
    confirm_on,
    dated,
    exit_if_pending,
    job_options,
    paid_lines,
    pinned_session,
    session,
    show,
    table_lines,
)
from jobs.settings import load_settings, load_settings_of, of_stream

if TYPE_CHECKING:
    from jobs.plan import PlanReport


@click.command()
@job_options
@budget_options
def batch(conf: Path, sets: tuple[str, ...], as_json: bool, yes: bool, job: str = "batch") -> None:
    """Complete the rows of a Delta table into another one."""
    from jobs.batch import run_batch
    from jobs.console import watch_on

    settings = load_settings(conf, sets)
    spark = pinned_session(settings)
    report = run_batch(spark, settings, watch_on(ERRORS, spark), confirm_on(ERRORS, yes), job)
    show(report.json(), run_lines(report), as_json)
    exit_if_pending(report)


@click.command()
@job_options
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Show N prompts that would be asked.",
)
def plan(conf: Path, sets: tuple[str, ...], as_json: bool, sample: int) -> None:
    """Print what a batch, a refresh or a stream would do, and its cost; spends nothing."""
    report = (
        _planned_stream(conf, sets, sample) if of_stream(conf) else _planned(conf, sets, sample)
    )
    show(report.json(), _plan_lines(report), as_json)


def _planned(conf: Path, sets: tuple[str, ...], sample: int) -> "PlanReport":
    from jobs.plan import run_plan
    from jobs.refresh_settings import PlanSettings

    settings = load_settings_of(PlanSettings, conf, sets)
    return run_plan(pinned_session(settings), settings, sample)


def _planned_stream(conf: Path, sets: tuple[str, ...], sample: int) -> "PlanReport":
    from jobs.pinning import pin_stream
    from jobs.stream_plan import run_stream_plan
    from jobs.stream_settings import StreamSettings

    settings = load_settings_of(StreamSettings, conf, sets)
    pin_stream(settings)
    return run_stream_plan(session(settings), settings, sample)


def run_lines(report: Any) -> dict[str, str]:
    """Return what a batch did, for people."""
    return {
        "rows": f"{report.rows:,}, {report.skipped:,} skipped (empty)",
        **paid_lines(report),
        "written": f"{report.written:,} rows",
        **common_lines(report.seconds, report.versions),
        **table_lines(report.tables),
    }


def _plan_lines(report: Any) -> dict[str, str]:
    tokens = report.tokens
    why = ", ".join(f"{rows:,} {name.replace('_', ' ')}" for name, rows in report.reasons.items())
    lines = {
        "rows": f"{report.rows:,}, {report.skipped:,} skipped (empty), {report.errors:,} in error",
        "of them": why or "none has a prompt",
        "prompts": f"{report.distinct:,} distinct, {report.hits:,} in the ledger, "
        f"{report.misses:,} to ask",
        "long": f"{report.long:,} rows in {report.parts:,} parts",
        "tokens": f"{tokens['input']:,} in, {tokens['expected_output']:,} out, "
        f"at most {_most(tokens['output'], ',')}",
        "shared": f"about {tokens['shared'] / max(1, tokens['input']):.0%} of the tokens in, at "
        "the beginning of prompts",
        "cost": _cost_line(report.cost),
        "time": "unknown before the first run"
        if report.expected_seconds is None
        else f"{report.expected_seconds:,.0f} s of answering, at the pace of the last runs",
        **common_lines(report.seconds, report.versions),
    }
    if len(report.asked_of) > 1:
        asked = ", ".join(f"{prompts:,} of {model}" for model, prompts in report.asked_of.items())
        lines["asked"] = f"{asked}; rows that a model will leave go on, and are not counted"
    return lines | {f"prompt {i + 1}": text for i, text in enumerate(report.sample)}


def _cost_line(cost: Any) -> str:
    if cost is None:
        return "unknown: set chain.price"
    most = _most(cost["most"], ",.4f")
    return dated(f"{cost['expected']:,.4f} {cost['currency']}, at most {most}", cost)


def _most(number: float | None, form: str) -> str:
    if number is None:
        return "unknown: long inputs are asked again after their parts"
    return format(number, form)

"""The commands `gristmill ledger stats`, `compact` and `forget`."""

from datetime import timedelta
from pathlib import Path

import click

from jobs.cli_common import job_options, key_of, key_option, session, show
from jobs.settings import load_settings_of

_MOST_DAYS = 36_500  # times before the year 1 are none


def _age(_: click.Context, __: click.Parameter, days: float | None) -> timedelta | None:
    if days is None:
        return None
    if not 0 <= days <= _MOST_DAYS:  # nor is nan
        raise click.BadParameter(f"expected days from 0 to {_MOST_DAYS:,}, found {days}")
    return timedelta(days=days)


@click.group()
def ledger() -> None:
    """Look after the ledger of a job."""


@ledger.command()
@job_options
def stats(conf: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Print what the ledger holds: answers, errors and tokens by model and template."""
    from jobs.ledger_care import LedgerConf, run_stats

    settings = load_settings_of(LedgerConf, conf, sets)
    report = run_stats(session(settings), settings)
    lines = {
        f"{it.model}, {it.template}": f"{it.answers:,} answers, {it.errors:,} errors; "
        f"{it.input_tokens:,} tokens in, {it.output_tokens:,} out; {it.first} to {it.last}"
        for it in report.uses
    }
    size = f"{report.bytes:,} bytes in {report.files:,} files"
    show(report.json(), {"table": report.table, "size": size, **lines}, as_json)


@ledger.command()
@job_options
@click.option(
    "--keep-hours",
    type=click.IntRange(min=0),
    help="Remove files that no version of the last so many hours needs (Delta's own least: 168).",
)
def compact(conf: Path, sets: tuple[str, ...], as_json: bool, keep_hours: int | None) -> None:
    """Write the ledger's small files as large ones, laid out for look-ups."""
    from jobs.ledger_care import LedgerConf, run_compact

    settings = load_settings_of(LedgerConf, conf, sets)
    report = run_compact(session(settings), settings, keep_hours)
    lines = {"files": f"{report.files_before:,} before, {report.files_after:,} now"}
    show(report.json(), lines, as_json)


@ledger.command()
@job_options
@key_option
@click.option("--older-than", "age", type=float, callback=_age, metavar="DAYS")
def forget(
    conf: Path, sets: tuple[str, ...], as_json: bool, keys: tuple[str, ...], age: timedelta | None
) -> None:
    """Remove the answers of a source row, or all that are older."""
    from jobs.ledger_care import LedgerConf, run_forget

    if bool(keys) == (age is not None):
        raise click.UsageError("expected either --key COLUMN=VALUE or --older-than DAYS")
    key = key_of(keys)
    settings = load_settings_of(LedgerConf, conf, sets)
    report = run_forget(session(settings), settings, key, age)
    show(report.json(), {"forgotten": f"{report.rows:,} answers"}, as_json)

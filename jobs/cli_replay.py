"""The command `gristmill replay`: dead letters of a stream, or one row of a table."""

from collections.abc import Mapping
from pathlib import Path

import click

from jobs.cli_common import (
    ERRORS,
    codes_option,
    job_options,
    key_of,
    key_option,
    pinned_session,
    session,
    show,
)
from jobs.settings import load_settings_of


@click.command()
@job_options
@codes_option("--reason")
@key_option
def replay(
    conf: Path,
    sets: tuple[str, ...],
    as_json: bool,
    codes: tuple[str, ...],
    keys: tuple[str, ...],
) -> None:
    """Send a stream's dead letters through again; with --key, ask one row of a table again."""
    if keys and codes:
        raise click.UsageError("--key and --reason exclude each other")
    if keys:
        _replay_row(conf, sets, key_of(keys), as_json)
    else:
        _replay_letters(conf, sets, codes, as_json)


def _replay_letters(
    conf: Path, sets: tuple[str, ...], codes: tuple[str, ...], as_json: bool
) -> None:
    from jobs.console import watch_on
    from jobs.pinning import pin_stream
    from jobs.replay import run_replay
    from jobs.stream_settings import StreamSettings

    settings = load_settings_of(StreamSettings, conf, sets)
    pin_stream(settings)
    spark = session(settings)
    report = run_replay(spark, settings, codes, watch_on(ERRORS, spark))
    left = ", ".join(f"{rows} {code}" for code, rows in report.left.items()) or "none"
    lines = {"taken": str(report.taken), "answered": str(report.answered), "left": left}
    show(report.json(), lines, as_json)


def _replay_row(conf: Path, sets: tuple[str, ...], key: Mapping[str, str], as_json: bool) -> None:
    from jobs.refresh_settings import PlanSettings
    from jobs.replay_row import run_replay_row

    settings = load_settings_of(PlanSettings, conf, sets)
    report = run_replay_row(pinned_session(settings), settings, key)
    then, now = report.then, report.now
    lines = {
        "source": report.source,
        "template": report.template,
        "prompt": report.prompt,
        f"then ({then.completed_at})" if then else "then": (then.result or then.error or "")
        if then
        else "the ledger has it no more",
        "now": now.result or now.error or "",
        "same": "yes" if report.is_same else "no",
        "model": now.model,
        "tokens": f"{report.tokens['input']:,} in, {report.tokens['output']:,} out",
    }
    show(report.json(), lines, as_json)

"""The command `gristmill refresh`."""

from pathlib import Path
from typing import Any

import click

from jobs.cli_common import (
    ERRORS,
    budget_options,
    common_lines,
    confirm_on,
    exit_if_pending,
    job_options,
    paid_lines,
    pinned_session,
    show,
    table_lines,
)
from jobs.settings import load_settings_of


@click.command()
@job_options
@budget_options
def refresh(
    conf: Path, sets: tuple[str, ...], as_json: bool, yes: bool, job: str = "refresh"
) -> None:
    """Keep a table of completions in step with its source."""
    from jobs.console import watch_on
    from jobs.refresh import run_refresh
    from jobs.refresh_settings import RefreshSettings

    settings = load_settings_of(RefreshSettings, conf, sets)
    spark = pinned_session(settings)
    report = run_refresh(spark, settings, watch_on(ERRORS, spark), confirm_on(ERRORS, yes), job)
    show(report.json(), _lines(report), as_json)
    exit_if_pending(report)


def _lines(report: Any) -> dict[str, str]:
    rows = report.rows
    return {
        "read": {
            "all": "all rows: there was no target",
            "feed": f"the change feed; {rows['unread']:,} of {rows['source']:,} rows unread",
            "comparison": f"all {rows['source']:,} rows, compared: {report.because}",
        }[report.how],
        "rows": f"{rows['inserted']:,} inserted, {rows['updated']:,} updated, "
        f"{rows['deleted']:,} deleted; {report.skipped:,} skipped (empty)",
        **paid_lines(report),
        **common_lines(report.seconds, report.versions),
        **table_lines(report.tables),
    }

"""The command `gristmill refresh`."""

from pathlib import Path
from typing import Any

import click

from jobs.cli_common import (
    ERRORS,
    common_lines,
    job_options,
    paid_lines,
    session,
    show,
    table_lines,
)
from jobs.settings import load_settings_of

PENDING_EXIT_CODE = 3


@click.command()
@job_options
def refresh(conf: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Keep a table of completions in step with its source."""
    from jobs.console import watch_on
    from jobs.pinning import pin_work
    from jobs.refresh import run_refresh
    from jobs.refresh_settings import RefreshSettings

    settings = load_settings_of(RefreshSettings, conf, sets)
    pin_work(settings)
    spark = session(settings)
    report = run_refresh(spark, settings, watch_on(ERRORS, spark))
    show(report.json(), _lines(report), as_json)
    if report.is_pending:
        click.get_current_context().exit(PENDING_EXIT_CODE)


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

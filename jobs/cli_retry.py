"""The command `gristmill retry`."""

import logging
from pathlib import Path
from typing import Any

import click

from jobs.cli_batch import batch
from jobs.cli_common import budget_options, codes_option, job_options, pinned_session
from jobs.cli_refresh import refresh
from jobs.settings import load_settings_of

LOG = logging.getLogger("gristmill")


@click.command()
@job_options
@codes_option("--error-code")
@budget_options
def retry(conf: Path, sets: tuple[str, ...], codes: tuple[str, ...], **options: Any) -> None:
    """Ask again for rows without an answer, errors that last too: by a batch or a refresh."""
    from jobs.refresh_settings import PlanSettings
    from jobs.retry import forget_errors

    settings = load_settings_of(PlanSettings, conf, sets)
    rows = forget_errors(pinned_session(settings), settings, codes)
    LOG.info("%d dead letters are asked again, with whatever else is due", rows)
    click.get_current_context().invoke(
        refresh if settings.is_refresh else batch, conf=conf, sets=sets, job="retry", **options
    )

"""What a person sees while a job runs: a progress bar on a terminal, plain lines elsewhere.

All of it goes to standard error; standard output is for results.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from udfs.passes import Watch
from udfs.progress import Progress, ProgressListener

LOG = logging.getLogger("gristmill")
SECONDS_BETWEEN_LINES = 10.0


def watch_on(console: Console, spark: SparkSession) -> Watch:
    """Return what shows the answering of prompts; workers send their counts to the driver."""
    host = str(spark.conf.get("spark.driver.host"))

    def watch(prompts: int) -> AbstractContextManager[Progress | None]:
        return _bar(console, host, prompts) if console.is_terminal else _lines(host, prompts)

    return watch


@contextmanager
def _bar(console: Console, host: str, prompts: int) -> Iterator[Progress]:
    columns = (
        TextColumn("answering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} prompts/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    begin = monotonic()
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("answering", total=prompts, rate="...")

        def advance(rows: int) -> None:
            bar.advance(task, rows)
            rate = bar.tasks[0].completed / max(monotonic() - begin, 1e-9)
            bar.update(task, rate=f"{rate:.1f}")

        with ProgressListener(host, advance) as progress:
            yield progress


@contextmanager
def _lines(host: str, prompts: int) -> Iterator[Progress]:
    begin = shown_at = monotonic()
    answered = 0
    LOG.info("answering %d prompts", prompts)

    def advance(rows: int) -> None:
        nonlocal answered, shown_at
        answered += rows
        now = monotonic()
        if now - shown_at < SECONDS_BETWEEN_LINES and answered < prompts:
            return
        shown_at = now
        rate = answered / max(now - begin, 1e-9)
        left = (prompts - answered) / rate
        LOG.info("answered %d of %d, %.1f/s, %.0f s left", answered, prompts, rate, left)

    with ProgressListener(host, advance) as progress:
        yield progress

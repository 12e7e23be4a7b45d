"""Where a refresh learns what changed: from the change data feed where it will do."""

import logging

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from jobs.change_feed import from_feed
from jobs.changes import Changes
from jobs.comparison import compare
from jobs.in_step import InStep, Memory, letters_in_step
from jobs.refresh_settings import PlanSettings
from jobs.refresh_target import RefreshTarget
from jobs.source import Source
from udfs.delta import CHANGE_DATA_FEED, Table
from udfs.ledger import Ledger
from udfs.work import Work

LOG = logging.getLogger("gristmill")


def find_changes(
    spark: SparkSession,
    settings: PlanSettings,
    work: Work,
    source: Source,
    ledger: Ledger,
    target: RefreshTarget,
    memory: Memory,
    now: InStep,
) -> Changes:
    """Return what a refresh has to do; asks no model and writes nothing.

    All rows where there is no target. Else what the change feed tells; where there is none that
    reaches back to the last refresh, a comparison of all rows; log and report say why.
    """
    if target.base < 0:
        return Changes("all", "", source.rows)
    table, letters = Table.named(settings.source.table), target.letters(spark)
    because = _no_feed(spark, table, target, memory, now)
    if not because and memory.last is not None:
        twice = settings.source.duplicates == "last"
        try:
            feed = _feed(spark, table, memory.last, now)
            return from_feed(source, work, feed, target.rows(spark), letters, twice)
        except (PySparkException, Py4JJavaError) as error:
            because = (
                f"the change data feed does not reach back to version {memory.last.version} "
                f"({_condition(error)})"
            )
    LOG.info("comparing all rows: %s", because)
    there = target.rows(spark)
    return compare(source, work, ledger, there, letters, because, target.on_delete)


def _no_feed(
    spark: SparkSession, table: Table, target: RefreshTarget, memory: Memory, now: InStep
) -> str:
    """Return why the change feed will not do, nothing where it may."""
    last = memory.last
    if last is None:
        return "the target was not written by a refresh"
    if last.source != now.source or now.version < last.version:
        return "the source is another table, or an older version, than the last refresh read"
    if last.makings != now.makings:
        return "chain, template, model, parameters, schema or columns have changed"
    if memory.disturbed:
        return "others have changed rows of the target"
    if not letters_in_step(spark, target.target.errors, target.letters_base, last):
        return "the dead letters are not those that the last refresh left"
    if now.version > last.version and table.properties(spark).get(CHANGE_DATA_FEED) != "true":
        return f"the source has no change data feed ({CHANGE_DATA_FEED})"
    return ""


def _feed(spark: SparkSession, table: Table, last: InStep, now: InStep) -> DataFrame | None:
    """Return the feed since the last refresh, None where nothing was committed since."""
    if now.version == last.version:
        return None
    return table.changes(spark, last.version + 1, now.version)


def _condition(error: PySparkException | Py4JJavaError) -> str:
    known = error.getCondition() if isinstance(error, PySparkException) else None
    return known or type(error).__name__

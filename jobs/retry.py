"""Errors that would last, forgotten, so that a run asks for their rows again."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import TableError
from jobs.in_step import RETRIED
from jobs.settings import Settings
from jobs.targets import Target
from udfs.commits import Told
from udfs.conflicts import past_conflicts
from udfs.delta import Table
from udfs.ledger import Ledger, payer, retryable
from udfs.work import key_json


def forget_errors(spark: SparkSession, settings: Settings, codes: Sequence[str]) -> int:
    """Remove the errors of the job's dead letters from the ledger; return how many rows have them.

    A long input has no fingerprint while one of its parts fails: the errors of its parts go. Errors
    that may pass are not in the ledger: any run asks for their rows again. The letters say so of
    the forgotten ones too, first: a refresh looks at no others. Raises TableError where the job has
    no dead letters.
    """
    target = Target.of(settings.target, settings.source.key)
    letters = target.errors
    if not letters.exists(spark):
        raise TableError(f"table {letters.name!r}: the job has no dead letters")
    wanted = F.col("error.code").isin(list(codes)) if codes else F.lit(True)
    rows = letters.read(spark).where(wanted)
    _say_that_they_may_pass(letters, rows.where(~retryable()), target.key)
    ledger = Ledger(Table.named(settings.ledger.table))
    ledger.open(spark)
    key = rows.select(*settings.source.key)
    failed = ledger.table.read(spark).where("error is not null")
    failed = failed.select("fingerprint", payer(key.schema).alias("payer"))
    asked = failed.join(rows, "fingerprint", "left_semi")
    unasked = rows.where("fingerprint is null").select(key_json(settings.source.key).alias("payer"))
    of_parts = failed.join(unasked, "payer", "left_semi")
    gone = asked.unionByName(of_parts).select("fingerprint").distinct()
    past_conflicts(ledger.table, lambda: ledger.table.delete(gone, ["fingerprint"]))
    return rows.count()


def _say_that_they_may_pass(letters: Table, lasting: DataFrame, key: Sequence[str]) -> None:
    error = F.col("error").withField("retryable", F.lit(True))
    rows, commit = lasting.withColumn("error", error), Told({RETRIED: True})
    past_conflicts(letters, lambda: letters.merge(rows, key, commit))

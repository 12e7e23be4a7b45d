"""A refresh by content: every row is rendered, and its fingerprint held against the target's."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.changes import MARK, Changes, has_column, has_marks, same_values, with_keys
from jobs.refresh_settings import OnDelete
from jobs.source import Source
from udfs.ledger import Ledger, retryable
from udfs.passes import Pass
from udfs.work import Work


def compare(
    source: Source,
    work: Work,
    ledger: Ledger,
    target: DataFrame,
    letters: DataFrame | None,
    because: str,
    on_delete: OnDelete,
) -> Changes:
    """Return the rows whose question is not the one that target or dead letters have.

    Letters that may pass are asked again. Rows that were marked as gone under another policy are
    deleted where it is `delete` now. Asks no model; what the ledger has is no matter here.
    """
    key, there = work.key, standing(target, work)
    with Pass(work.prepare(source.rows), work, ledger) as whole:
        asked = whole.questions
        lacking, left = lacking_in(asked, there, work), None
        if letters is not None:
            lacking, left = _unsettled(lacking, letters.where(~retryable()), work)
        keys = lacking.select(*key).persist()
        living = there if on_delete == "delete" else there.where(F.col(MARK).isNull())
        gone = with_keys(living.select(*key), asked, key, "left_anti").persist()
        to_answer, to_remove = keys.count(), gone.count()
    rows = with_keys(source.rows, keys, key, "left_semi")
    return Changes(
        "comparison", because, rows, gone, left, there, to_answer, to_remove, (keys, gone)
    )


def standing(target: DataFrame, work: Work) -> DataFrame:
    """Return what a target has of each row: key, question, kept columns, whether it is marked."""
    kept = [name for name in work.keep if has_column(target, name)]
    marked = has_marks(target, work.keep)
    mark = F.col(MARK) if marked else F.lit(None).cast("timestamp").alias(MARK)
    code = F.col("error.code").alias("_flow_code")
    return target.select(*work.key, "fingerprint", code, *kept, mark)


def lacking_in(questions: DataFrame, there: DataFrame, work: Work) -> DataFrame:
    """Return the questions whose rows the target lacks, or has otherwise (see `standing`)."""
    asked = questions.withColumn("_flow_code", F.col("error.code"))
    kept = same_values(asked, there, work.keep, ("asked", "there"))
    in_step = _same_question(asked, there, work) & kept & F.col(f"there.{MARK}").isNull()
    return asked.alias("asked").join(there.alias("there"), in_step, "left_anti")


def _unsettled(lacking: DataFrame, final: DataFrame, work: Work) -> tuple[DataFrame, DataFrame]:
    """Part what the target lacks: without the rows of final letters; and the letters of those."""
    there = final.withColumn("_flow_code", F.col("error.code"))
    same = _same_question(lacking, there, work)
    letters = there.alias("there").join(lacking.alias("asked"), same, "left_semi")
    return (
        lacking.alias("asked").join(there.alias("there"), same, "left_anti"),
        letters.drop("_flow_code").localCheckpoint(),
    )


def _same_question(asked: DataFrame, there: DataFrame, work: Work) -> Column:
    """Return the condition of the same key and question; without a question, the same reason."""
    key = same_values(asked, there, work.key, ("asked", "there"))
    question = F.col("asked.fingerprint").eqNullSafe(F.col("there.fingerprint"))
    reason = F.col("asked._flow_code").eqNullSafe(F.col("there._flow_code"))
    return key & question & (F.col("asked.fingerprint").isNotNull() | reason)

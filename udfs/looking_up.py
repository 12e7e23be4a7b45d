"""Deferred rows of a micro-batch beside the ledger: those that it can answer, and the rest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from udfs.ledger import answers_to, newest

FEW = 1000


@dataclass(frozen=True)
class LookedUp:
    """`answers` are one a fingerprint, `known` rows have one; without others `rest` is None."""

    answers: DataFrame
    known: DataFrame
    rest: DataFrame | None


@contextmanager
def looked_up(deferred: DataFrame, followed: pa.Table, ledger: DataFrame) -> Iterator[LookedUp]:
    """Look the deferred rows up among a ledger's answers; `followed` tells their fingerprints.

    A row without one, an input longer than the window, is among the rest.
    """
    asked = followed.filter(followed["deferred"])["looked_up"]
    wanted = sorted(asked.drop_null().unique().to_pylist())
    if len(wanted) <= FEW:
        yield _few(deferred, asked, wanted, ledger)
        return
    answers = newest(answers_to(deferred, ledger)).persist()
    try:
        fingerprints = answers.select("fingerprint")
        yield LookedUp(
            answers,
            deferred.join(fingerprints, "fingerprint", "left_semi"),
            deferred.join(fingerprints, "fingerprint", "left_anti"),
        )
    finally:
        answers.unpersist()


def _few(
    deferred: DataFrame, asked: pa.ChunkedArray, wanted: Sequence[str], ledger: DataFrame
) -> LookedUp:
    """Skip pages of the ledger's files by the fingerprints themselves, in one Spark job.

    What they answer is held by the driver, so nothing is shuffled.
    """
    spark = deferred.sparkSession
    found = _newest(ledger.where(_is_one_of(wanted)).toArrow())
    answers = F.broadcast(spark.createDataFrame(found, ledger.schema))
    is_known = _is_one_of(found["fingerprint"].to_pylist())
    all_known = pc.all(pc.is_in(asked, value_set=found["fingerprint"].combine_chunks())).as_py()
    rest = None if all_known else deferred.where(~F.coalesce(is_known, F.lit(False)))
    return LookedUp(answers, deferred.where(is_known), rest)


def _is_one_of(fingerprints: Sequence[str]) -> Column:
    """Return the condition as SQL: `isin` goes to the JVM and back for each."""
    return (
        F.expr(f"fingerprint IN ({', '.join(map(repr, fingerprints))})")
        if fingerprints
        else F.lit(False)
    )


def _newest(answers: pa.Table) -> pa.Table:
    """Return one row a fingerprint, as `newest` does."""
    ranked = answers.append_column("_success", pc.is_null(answers["error"]))
    ranked = ranked.sort_by([(it, "ascending") for it in ("_success", "completed_at", "run_id")])
    last = {it: i for i, it in enumerate(ranked["fingerprint"].to_pylist())}
    return ranked.take(pa.array(last.values(), pa.int64())).drop_columns("_success")

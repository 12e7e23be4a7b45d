"""What earlier calls took: the ledger's answers of the same model and template."""

from dataclasses import dataclass

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from udfs.ledger import Ledger
from udfs.work import Work

_RUNS = 5


@dataclass(frozen=True)
class History:
    """Means over the newest runs; None where nothing like it was answered before.

    `output_tokens` of an answer, `prompts_per_second` of a run, all its tasks together.
    """

    output_tokens: float | None = None
    prompts_per_second: float | None = None


def history(spark: SparkSession, ledger: Ledger, work: Work) -> History:
    """Read what the newest runs say; scans the ledger's small columns."""
    rows = ledger.rows(spark)
    if rows is None:
        return History()
    same = (F.col("model") == work.pinned.model.name) & (
        F.col("template") == work.chain.template.ref
    )
    at = F.unix_micros("completed_at") / 1_000_000
    runs = (
        rows.where(same & F.col("error").isNull())
        .groupBy("run_id")
        .agg(
            F.count("*").alias("prompts"),
            F.sum("output_tokens").alias("tokens"),
            (F.max(at) - F.min(at)).alias("seconds"),
            F.max(at).alias("end"),
        )
        .orderBy(F.desc("end"))
        .limit(_RUNS)
        .collect()
    )
    prompts, tokens = sum(it["prompts"] for it in runs), sum(it["tokens"] or 0 for it in runs)
    timed = [it for it in runs if it["seconds"] > 0]
    seconds = sum(it["seconds"] for it in timed)
    return History(
        tokens / prompts if prompts else None,
        sum(it["prompts"] for it in timed) / seconds if seconds else None,
    )

"""Why rows are asked: what the target and its dead letters say of each row of a plan."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.changes import same_values
from jobs.targets import Target
from udfs.cascade import Passes


def reasons(planned: Passes, target: Target) -> dict[str, int]:
    """Count the rows that have a prompt of their own, by what happened to them.

    `unchanged` rows have their answer in the target. `changed` ones have another input, other
    parameters or another schema; what also has another template or model counts as such. `failed`
    and `pending` rows are dead letters, with errors that last or that may pass.
    """
    rows = planned.questions.where("fingerprint is not null").alias("row")
    for name, other in (("there", _there(planned, target)), ("letter", _letters(planned, target))):
        same = same_values(planned.questions, other, target.key, ("row", name))
        rows = rows.join(other.alias(name), same, "left")
    counted = rows.groupBy(_reason(planned).alias("reason")).count().collect()
    return {row["reason"]: row["count"] for row in counted}


def _reason(planned: Passes) -> Column:
    work = planned.work
    models = [it.name for it in work.models]
    return (
        F.when(F.col("letter._flow_retryable"), "pending")
        .when(F.col("letter._flow_retryable").isNotNull(), "failed")
        .when(F.col("there._flow_there").isNull(), "new")
        .when(F.col("there.fingerprint") == F.col("row.fingerprint"), "unchanged")
        .when(F.col("there.template") != work.chain.template.ref, "new_template")
        .when(~F.col("there.model").isin(models), "new_model")
        .otherwise("changed")
    )


def _there(planned: Passes, target: Target) -> DataFrame:
    columns = ("fingerprint", "template", "model")
    if not target.table.exists(planned.spark):
        nothing = planned.questions.where("false").select(*target.key, "fingerprint")
        empty = {it: F.lit(None).cast("string") for it in ("template", "model")}
        return nothing.withColumns(empty).withColumn("_flow_there", F.lit(True))
    found = target.table.read(planned.spark).select(*target.key, *columns)
    return found.withColumn("_flow_there", F.lit(True))


def _letters(planned: Passes, target: Target) -> DataFrame:
    if not target.errors.exists(planned.spark):
        nothing = planned.questions.where("false").select(*target.key)
        return nothing.withColumn("_flow_retryable", F.lit(True))
    letters = target.errors.read(planned.spark)
    return letters.select(
        *target.key, F.coalesce("error.retryable", F.lit(False)).alias("_flow_retryable")
    )

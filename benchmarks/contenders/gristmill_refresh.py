"""gristmill: a refresh in a session that lives on; a task may change its source before.

One to `rehearse` is refreshed twice, before the change and after.
"""

from dataclasses import asdict
from typing import Any

from bench.serving import Options, Prepare, Work, serve
from contenders.gristmill_batch import generate, settings
from contenders.spark import session
from pyspark.sql import SparkSession

from jobs.refresh import run_refresh
from jobs.refresh_settings import RefreshSettings

FEED = "delta.enableChangeDataFeed"


def make(options: Options) -> Prepare:
    spark = session(options)

    def prepare(task: dict[str, Any]) -> Work:
        if "generate" in task:
            return lambda: generate_with_feed(spark, task)
        job = RefreshSettings.model_validate(settings(options, task, "").model_dump())
        if "rehearse" in task:
            run_refresh(spark, job)
        if "change" in task:
            change(spark, task)
        return lambda: {"report": asdict(run_refresh(spark, job))}

    return prepare


def generate_with_feed(spark: SparkSession, task: dict[str, Any]) -> None:
    """Write a table of short rows that differ, and switch its change data feed on."""
    generate(spark, task)
    spark.sql(f"alter table delta.`{task['table']}` set tblproperties ({FEED} = true)")


def change(spark: SparkSession, task: dict[str, Any]) -> None:
    """Give one row of each `task["change"]` a new text; other rows each time."""
    version = spark.sql(f"describe history delta.`{task['table']}` limit 1").first()
    assert version is not None
    number = version["version"]
    spark.sql(
        f"update delta.`{task['table']}` set body = concat(body, ' {number}') "
        f"where cast(id as long) % {task['change']} = {number % task['change']}"
    )


if __name__ == "__main__":
    serve(make)

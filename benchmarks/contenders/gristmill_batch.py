"""gristmill: the batch job in a session that lives on; new target and ledger where `out` is new."""

from dataclasses import asdict
from typing import Any

from bench.serving import Options, Prepare, Work, serve
from contenders.spark import session
from pyspark.sql import SparkSession

from jobs.batch import run_batch
from jobs.plan import run_plan
from jobs.settings import Settings


def make(options: Options) -> Prepare:
    spark = session(options)

    def prepare(task: dict[str, Any]) -> Work:
        if "generate" in task:
            return lambda: generate(spark, task)
        jobs = [settings(options, task, f"-{i}" if i else "") for i in range(task.get("runs", 1))]

        def work() -> dict[str, Any]:
            said = {}
            if task.get("plan"):
                said["plan_seconds"] = run_plan(spark, jobs[0]).seconds
            reports = [asdict(run_batch(spark, job)) for job in jobs]
            return said | {"report": reports[-1]}

        return work

    return prepare


def settings(options: Options, task: dict[str, Any], suffix: str) -> Settings:
    """Return the settings of a job: by `id`, documents of column `body` unless told otherwise."""
    ask, out = task["ask"], task["out"] + suffix
    columns = ask.get("columns", {"document": "body"})
    return Settings.model_validate(
        {
            "source": {"table": task["table"], "key": "id", "columns": columns},
            "target": {"table": out},
            "chain": {
                "name": "summarize",
                "model": ask["spec"],
                "template": ask.get("template"),
                "parameters": ask.get("parameters", {}),
                "engine": ask.get("engine", "process"),
            },
            "sidecar": ask.get("sidecar", {}),
            "endpoints": ask.get("endpoints", {}),
            "ledger": {"table": f"{out}_ledger"},
            "work_dir": options["work"],
        }
    )


def generate(spark: SparkSession, task: dict[str, Any]) -> None:
    """Write a table of short rows that differ."""
    rows = spark.range(task["generate"]).selectExpr(
        "cast(id as string) as id", "concat('row ', sha2(cast(id as string), 256)) as body"
    )
    rows.write.format("delta").mode("overwrite").save(task["table"])


if __name__ == "__main__":
    serve(make)

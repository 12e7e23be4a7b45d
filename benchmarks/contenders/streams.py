"""A topic to Delta, in one session: Spark's plain stream, one with a pyfunc, or gristmill's."""

import json
from pathlib import Path
from threading import Timer
from time import perf_counter, time
from typing import Any

import mlflow
from bench.serving import Options, Prepare, serve
from contenders.mlflow_udf import saved
from contenders.spark import session
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import DataStreamWriter

from chains import load_chain, resolve_model
from jobs.stream import Stream, Trigger
from jobs.stream_settings import StreamSettings
from udfs.columns import ledger_type
from udfs.completion import pin
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.micro_batch import MicroBatches
from udfs.slices import Slice
from udfs.work import Work

SCHEMA = "id string, document string"
PLACE = ("topic", "partition", "offset", "timestamp")


def make(options: Options) -> Prepare:
    spark = session(options)
    return lambda task: lambda: PARTS[task["part"]](spark, task)


def rate(spark: SparkSession, task: dict[str, Any]) -> dict[str, Any]:
    """Read all of a topic, so many rows a micro-batch; the seconds of each but the first two."""
    seconds = _ours(spark, task) if task["who"] == "gristmill" else _plain(spark, task)
    whole = [it for rows, it in seconds[2:] if rows >= 0.9 * task["rows"]]
    return {"batch_seconds": whole}


def _plain(spark: SparkSession, task: dict[str, Any]) -> list[tuple[int, float]]:
    query = (
        _read(spark, task)
        .writeStream.format("delta")
        .option("checkpointLocation", task["out"] + "_checkpoint")
        .trigger(availableNow=True)
        .start(task["out"])
    )
    query.awaitTermination()
    return [
        (it.numInputRows, it.durationMs["triggerExecution"] / 1000) for it in query.recentProgress
    ]


def _ours(spark: SparkSession, task: dict[str, Any]) -> list[tuple[int, float]]:
    told: list[tuple[int, float]] = []
    Stream(spark, settings(task), lambda it: told.append((it.counts.rows, it.seconds["all"]))).run(
        Trigger(available_now=True)
    )
    return told


def latency(spark: SparkSession, task: dict[str, Any]) -> dict[str, Any]:
    """Follow a topic that is written meanwhile; seconds from each event to its commit."""
    if task["who"] == "gristmill":
        stream = Stream(spark, settings(task), lambda _: None)
        _stop_when(task["until"], stream.stop)
        stream.run(Trigger())
    else:
        begun = _with_pyfunc if task["who"] == "mlflow" else _straight_to_delta
        query = begun(spark, task).option("checkpointLocation", task["out"] + "_checkpoint").start()
        query.awaitTermination(max(1, task["until"] - time()))
        query.stop()
    return {"latencies": latencies(spark, task), "commits": _commits(spark, task)}


def _straight_to_delta(spark: SparkSession, task: dict[str, Any]) -> DataStreamWriter:
    return _read(spark, task).writeStream.format("delta").option("path", task["out"])


def _with_pyfunc(spark: SparkSession, task: dict[str, Any]) -> DataStreamWriter:
    """Ask in `foreachBatch` through MLflow's UDF, all rows of a task at once."""
    model = saved(Path(task["out"]).parent, task["ask"])
    udf = mlflow.pyfunc.spark_udf(spark, model, result_type="string", env_manager="local")

    def answer(rows: DataFrame, number: int) -> None:
        answered = rows.withColumn("result", udf("document"))
        answered.write.format("delta").mode("append").save(task["out"])

    return _read(spark, task).writeStream.foreachBatch(answer)


def _commits(spark: SparkSession, task: dict[str, Any]) -> list[float]:
    """Return the seconds of commits that add no row, but for the first."""
    seconds = []
    for _ in range(6):
        begin = perf_counter()
        rows = spark.range(0)
        rows.write.format("delta").mode("append").save(task["out"] + "_empty")
        seconds.append(perf_counter() - begin)
    return seconds[1:]


def latencies(spark: SparkSession, task: dict[str, Any]) -> list[float]:
    """Return seconds from an event to the modification time of the commit that has it."""
    log = Path(task["out"], "_delta_log")
    seen: dict[str, float] = {}
    for commit in sorted(log.glob("*.json")):
        for line in commit.read_text().splitlines():
            added = json.loads(line).get("add")
            if added is not None:
                seen[added["path"]] = commit.stat().st_mtime
    time_column = "kafka_timestamp" if task["who"] == "gristmill" else "timestamp"
    rows = spark.read.format("delta").load(task["out"])
    found = rows.where(F.col(time_column) >= F.timestamp_seconds(F.lit(task["since"]))).select(
        F.unix_micros(time_column).alias("at"), F.input_file_name().alias("file")
    )
    return [seen[Path(it["file"]).name] - it["at"] / 1e6 for it in found.collect()]


def _stop_when(until: float, stop: Any) -> None:
    Timer(max(0.1, until - time()), stop).start()


def _read(spark: SparkSession, task: dict[str, Any]) -> DataFrame:
    rows = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", task["bootstrap"])
        .option("subscribe", task["topic"])
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", task["rows"])
        .load()
    )
    parsed = F.from_json(F.col("value").cast("string"), SCHEMA).alias("row")
    return rows.select(*PLACE, parsed).select(*PLACE, "row.*")


def settings(task: dict[str, Any]) -> StreamSettings:
    """Return the settings of gristmill's stream."""
    out, ask = task["out"], task.get("ask", {"spec": "python:bench.models:Free"})
    kafka = {"bootstrap": task["bootstrap"], "topic": task["topic"], "schema": SCHEMA}
    return StreamSettings.model_validate(
        {
            "source": {"kafka": kafka},
            "target": {"table": out, "mode": "append"},
            "chain": {
                "name": "summarize",
                "model": ask["spec"],
                "template": ask.get("template"),
            },
            "endpoints": ask.get("endpoints", {}),
            "ledger": {"table": task.get("ledger", f"{out}_ledger")},
            "checkpoint": f"{out}_checkpoint",
            "max_rows_per_batch": task["rows"],
            "work_dir": str(Path(out).parent),
        }
    )


def look_up(spark: SparkSession, task: dict[str, Any]) -> dict[str, Any]:
    """Answer micro-batches of 100 rows beside a ledger of `task["answers"]`; seconds of each."""
    ledger = Ledger(Table(task["out"] + "_ledger"))
    ledger.open(spark)
    _fill(spark, ledger, task["answers"])
    model = resolve_model("python:bench.models:Free")
    work = Work(pin(load_chain("summarize"), model), ("id",), {"document": "document"})
    seconds: dict[str, list[float]] = {"new": [], "known": []}
    with MicroBatches(spark, ledger, "fill") as batches:
        _answer(spark, batches, work, 0, 0)
    with MicroBatches(spark, ledger, "bench") as batches:
        for i in range(task["batches"]):
            seconds["new"].append(_answer(spark, batches, work, 2 * i, 1000 * (i + 1)))
            seconds["known"].append(_answer(spark, batches, work, 2 * i + 1, 0))
    return {kind: found[1:] for kind, found in seconds.items()}


def _fill(spark: SparkSession, ledger: Ledger, answers: int) -> None:
    """Give a ledger so many other answers, laid out as `gristmill ledger compact` does."""
    columns = {
        "fingerprint": "sha2(cast(id as string), 256)",
        "result": "concat('answer ', id)",
        "completed_at": "current_timestamp()",
    }
    kinds = {field.name: field.dataType.simpleString() for field in ledger_type()}
    rows = spark.range(answers).selectExpr(
        *(f"{columns.get(name, 'null')}::{kind} as {name}" for name, kind in kinds.items())
    )
    ledger.table.append_once(rows, "fill")
    ledger.compact(spark)


def _answer(
    spark: SparkSession, batches: MicroBatches, work: Work, number: int, first: int
) -> float:
    rows = spark.range(first, first + 100).selectExpr(
        "cast(id as string) as id", "concat('document ', id) as document"
    )
    begin = perf_counter()
    with batches.answered(rows, work, Slice(number), "run") as answered:
        answered.rows.write.format("noop").mode("overwrite").save()
    return perf_counter() - begin


PARTS = {"rate": rate, "latency": latency, "look_up": look_up}


if __name__ == "__main__":
    serve(make)

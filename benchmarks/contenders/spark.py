"""The Spark session of contenders: gristmill's settings for all of them."""

import os
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs import jvm
from jobs.session import open_session
from jobs.settings import SparkSettings

CLUSTER = "local-cluster[2,1,2048]"


def session(options: dict[str, Any]) -> SparkSession:
    """Return a session with `options["master"]` (default: local[2])."""
    master = options.get("master", "local[2]")
    work = Path(options["work"])
    conf: dict[str, Any] = {"spark.sql.warehouse.dir": str(work / "warehouse")}
    if master.startswith("local-cluster"):
        conf |= {
            "spark.executor.extraClassPath": f"{jvm.jars()}/*",
            "spark.executor.memory": "2g",
            "spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"],
            "spark.executorEnv.BENCH_NOTES": os.environ["BENCH_NOTES"],
            "spark.executorEnv.OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
        }
    return open_session(
        SparkSettings(master=master, conf=conf | options.get("conf", {})), work / options["name"]
    )


def source(spark: SparkSession, task: dict[str, Any]) -> DataFrame:
    """Return the task's table, in `task["partitions"]` where it is given."""
    rows = spark.read.format("delta").load(task["table"])
    return rows.repartition(task["partitions"]) if task.get("partitions") else rows


def write(rows: DataFrame, task: dict[str, Any]) -> None:
    """Write the result as a Delta table."""
    rows.write.format("delta").mode("overwrite").save(task["out"])

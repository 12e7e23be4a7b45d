"""Jobs that keep nothing of a run that was killed, as commands: Spark's UDF or Daft's, to Delta.

`python -m contenders.plain_job spark|daft TASK`; prints the seconds without imports and session.
"""

import json
import sys
import time
from math import inf
from pathlib import Path
from typing import Any

from bench import tables
from bench.window import Window

THREADS = "spark.sql.execution.pythonUDF.arrow.concurrency.level"


def spark_job(task: dict[str, Any]) -> float:
    from contenders.endpoint_spark import TASKS, threads
    from contenders.spark import session, source, write

    options = {"work": task["work"], "name": "plain-spark"}
    spark = session(options | {"conf": {THREADS: task["slots"] // TASKS}})
    begin = time.perf_counter()
    answer = threads(Window(task["url"], inf, task["slots"], ""))
    rows = source(spark, task | {"partitions": TASKS})
    write(rows.select("id", answer("id").alias("result")), task)
    return time.perf_counter() - begin


def daft_job(task: dict[str, Any]) -> float:
    import daft
    from contenders.endpoint_daft import Rows

    begin = time.perf_counter()
    asking = daft.cls(Rows, max_concurrency=1)(Window(task["url"], inf, task["slots"], ""))
    rows = daft.from_arrow(tables.read(task["table"]))
    answered = rows.select(rows["id"], asking.answer(rows["id"]).alias("result"))
    Path(task["out"]).mkdir(exist_ok=True)  # this release makes none
    answered.write_deltalake(task["out"], mode="overwrite")
    return time.perf_counter() - begin


JOBS = {"spark": spark_job, "daft": daft_job}


if __name__ == "__main__":
    seconds = JOBS[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps({"seconds": {"all": seconds}}))

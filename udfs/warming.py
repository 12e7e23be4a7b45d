"""Python workers that are there before a run's first questions are."""

from contextlib import suppress
from threading import Thread

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from chains.base import Chain
from udfs.arrow import Pinned
from udfs.completion import question_udf, variables_struct


def start_workers(spark: SparkSession, pinned: Pinned) -> Thread:
    """Let each of the session's cores ask an empty question, beside what the caller does.

    To start a Python worker and load chains in it takes a second, in which a driver that looks at
    tables leaves the other cores idle. No model is asked. What goes wrong here goes wrong in the
    run as well, which tells it. Returns the thread that waits for them; a command that ends before
    them does not.
    """

    def start() -> None:
        with suppress(Exception):
            chain = Chain.from_spec(pinned.chain)
            empty = [F.lit(None).cast("string").alias(it) for it in chain.template.variables]
            cores = spark.sparkContext.defaultParallelism
            rows = spark.range(cores, numPartitions=cores).select(*empty)
            rows.select(question_udf(pinned)(variables_struct(chain, {}))).collect()

    thread = Thread(target=start, daemon=True)
    thread.start()
    return thread

"""Spark as an endpoint's client: UDFs in threads (`concurrency.level`), or an asyncio UDF."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from bench.serving import Options, Work, serve
from bench.window import Asking, Window, ask
from contenders.endpoint_client import Ask, measure
from contenders.spark import session
from pyspark.sql import functions as F

LEVEL = "spark.sql.execution.pythonUDF.arrow.concurrency.level"
TASKS = 2


def make(options: Options) -> Any:
    spark = session(options)
    kinds = {"threads": threads, "asyncio": in_a_loop}

    def prepare(task: dict[str, Any]) -> Work:
        def asked(window: Window, rows: int) -> None:
            answer = kinds[task["client"]](window)
            answered = spark.range(0, rows, 1, TASKS).select(answer("id"))
            answered.write.format("noop").mode("overwrite").save()

        client: Ask = asked
        return lambda: measure(task, client)

    return prepare


def threads(window: Window) -> Any:
    """Return a scalar UDF; Spark runs it in as many threads as the session's LEVEL."""
    return F.udf(lambda row: ask(window, row), "string", useArrow=True)


def in_a_loop(window: Window) -> Any:
    """Return an iterator UDF that asks for the rows of an Arrow batch in an event loop."""

    async def all_rows(rows: list[int]) -> list[str | None]:
        asking = Asking(window)
        return await asyncio.gather(*map(asking.ask, rows))

    def answers(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for batch in batches:
            yield pa.array(asyncio.run(all_rows(batch.to_pylist())), pa.string())

    return F.arrow_udf(answers, "string")


if __name__ == "__main__":
    serve(make)

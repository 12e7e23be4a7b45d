"""Every kind of Spark's Python UDF around a function that gives its text back; nothing is kept."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from bench.serving import Options, Prepare, Work, serve
from contenders.spark import session
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from chains import load_chain, resolve_model
from udfs.completion import complete

SCHEMA = "id bigint, body string"


def series(bodies: pd.Series) -> pd.Series:
    return bodies


def iterator(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
    yield from batches


def arrays(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
    yield from batches


def frames(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield from batches


def arrow_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


def text(body: str) -> str:
    return body


def make(options: Options) -> Prepare:
    spark = session(options)
    chain, free = load_chain("summarize"), resolve_model("python:bench.models:Free")
    column = {
        "pandas_udf series": lambda: _pandas(series, "series"),
        "pandas_udf iterator": lambda: _pandas(iterator, "iterator"),
        "arrow_udf iterator": lambda: _typed(F.arrow_udf, arrays, Iterator[pa.Array]),
        "udf scalar": lambda: F.udf(text, "string", useArrow=False),
    }
    frame: dict[str, Callable[[DataFrame], DataFrame]] = {
        "jvm only": lambda rows: rows,
        "mapInArrow": lambda rows: rows.mapInArrow(arrow_batches, SCHEMA),
        "mapInPandas": lambda rows: rows.mapInPandas(frames, SCHEMA),
        "gristmill completion_udf": complete(chain, free, {"document": "body"}),
    }

    def prepare(task: dict[str, Any]) -> Work:
        rows = spark.range(0, task["rows"], 1, 2).selectExpr(
            "id", "repeat(sha2(cast(id as string), 256), 16) as body"
        )
        kind = task["kind"]
        done = frame[kind](rows) if kind in frame else rows.select("id", column[kind]()("body"))
        return lambda: done.write.format("noop").mode("overwrite").save()

    return prepare


def _pandas(function: Callable[..., Any], kind: str) -> Any:
    hint = pd.Series if kind == "series" else Iterator[pd.Series]
    return _typed(F.pandas_udf, function, hint)


def _typed(udf: Callable[..., Any], function: Callable[..., Any], hint: Any) -> Any:
    """Spark reads the kind from the annotations: give them as types."""
    names = [name for name in function.__annotations__ if name != "return"]
    function.__annotations__ = {**dict.fromkeys(names, hint), "return": hint}
    return udf(function, "string")


if __name__ == "__main__":
    serve(make)

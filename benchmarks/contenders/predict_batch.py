"""Spark: `pyspark.ml.functions.predict_batch_udf`; the UDF lives on, so workers keep the model."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from bench.serving import Options, Prepare, Work, serve
from contenders.spark import session, source, write
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql.types import StringType


def make(options: Options) -> Prepare:
    spark = session(options)

    def prepare(task: dict[str, Any]) -> Work:
        udf = made(json.dumps(task["ask"]), task["batch_size"])

        def run() -> None:
            write(source(spark, task).select("id", udf("body").alias("result")), task)

        return run

    return prepare


@cache
def made(ask: str, batch_size: int) -> Any:
    """Return the UDF; plain functions inside, since it is pickled."""

    def load() -> Callable[[np.ndarray], np.ndarray]:
        from bench.asking import Asker

        asker = Asker(json.loads(ask))

        def predict(bodies: np.ndarray) -> np.ndarray:
            return np.array(asker(bodies.tolist()), dtype=object)

        return predict

    return predict_batch_udf(load, return_type=StringType(), batch_size=batch_size)


if __name__ == "__main__":
    serve(make)

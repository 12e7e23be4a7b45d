"""Daft: a class UDF; tables are read and written by deltalake."""

from typing import Any

import daft
from bench import tables
from bench.serving import Options, Prepare, Work, serve
from daft import DataType, Series


class Asking:
    """The UDF's class; loads the model where it is made."""

    def __init__(self, ask: dict[str, Any]) -> None:
        from bench.asking import Asker

        self._ask = Asker(ask)

    def answer(self, bodies: Series) -> list[str | None]:
        """Answer a batch."""
        return self._ask(bodies.to_pylist())


def make(options: Options) -> Prepare:
    def prepare(task: dict[str, Any]) -> Work:
        batch = daft.method.batch(
            return_dtype=DataType.string(),
            **({"batch_size": task["batch_size"]} if "batch_size" in task else {}),
        )
        kind = type("Asking", (Asking,), {"answer": batch(Asking.answer), "__module__": __name__})
        asking = daft.cls(kind, **task.get("udf", {}))(task["ask"])

        def run() -> None:
            rows = daft.from_arrow(tables.read(task["table"]))
            if "partitions" in task:
                rows = rows.into_batches(task["partitions"])
            found = rows.select(rows["id"], asking.answer(rows["body"]).alias("result")).to_pydict()
            tables.save(task["out"], found["id"], found["result"])

        return run

    return prepare


if __name__ == "__main__":
    serve(make)

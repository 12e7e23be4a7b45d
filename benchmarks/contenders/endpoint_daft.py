"""Daft as an endpoint's client: an asynchronous UDF, as its own `prompt` function is one."""

from typing import Any

import daft
from bench.serving import Options, Work, serve
from bench.window import Asking, Window
from contenders.endpoint_client import measure
from daft import DataType


class Rows:
    """The UDF's class."""

    def __init__(self, window: Window) -> None:
        self._asking = Asking(window)

    @daft.method(return_dtype=DataType.string())
    async def answer(self, row: int) -> str | None:
        """Answer a row."""
        return await self._asking.ask(row)


def make(options: Options) -> Any:
    def prepare(task: dict[str, Any]) -> Work:
        def asked(window: Window, rows: int) -> None:
            asking = daft.cls(Rows, max_concurrency=1)(window)
            table = daft.from_pydict({"id": list(range(rows))})
            table.select(asking.answer(table["id"]).alias("result")).collect()

        return lambda: measure(task, asked)

    return prepare


if __name__ == "__main__":
    serve(make)

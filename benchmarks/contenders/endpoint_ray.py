"""Ray Data as an endpoint's client: `map_batches` over actors that ask a batch by asyncio."""

import asyncio
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from bench.serving import Options, Work, serve
from bench.window import Asking, Window
from contenders.endpoint_client import measure
from contenders.ray_data import blocks

ACTORS = 2


class Actor:
    """One of the actors; Ray gives it several batches at once."""

    def __init__(self, window: Window) -> None:
        self._asking = Asking(window)

    async def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = await asyncio.gather(*map(self._asking.ask, batch["id"].tolist()))
        return {"id": batch["id"], "result": np.array(answers, dtype=object)}


def make(options: Options) -> Any:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def prepare(task: dict[str, Any]) -> Work:
        def asked(window: Window, rows: int) -> None:
            table = pa.table({"id": list(range(rows))})
            done = ray.data.from_arrow(blocks(table, 2 * ACTORS)).map_batches(
                Actor,
                fn_constructor_args=(window,),
                compute=ray.data.ActorPoolStrategy(size=ACTORS),
                num_cpus=1,
                batch_size=task["batch_size"],
            )
            done.materialize()

        return lambda: measure(task, asked)

    return prepare


if __name__ == "__main__":
    serve(make)

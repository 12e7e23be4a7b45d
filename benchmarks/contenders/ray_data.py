"""Ray Data: `map_batches` with actors; tables are read and written by deltalake."""

from typing import Any

import numpy as np
import pyarrow as pa
import ray
from bench import tables
from bench.serving import Options, Prepare, Work, serve


class Actor:
    """One of the actors; loads the model when it starts."""

    def __init__(self, ask: dict[str, Any]) -> None:
        from bench.asking import Asker

        self._ask = Asker(ask)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = np.array(self._ask(batch["body"].tolist()), dtype=object)
        return {"id": batch["id"], "result": results}


def make(options: Options) -> Prepare:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def prepare(task: dict[str, Any]) -> Work:
        size = {"batch_size": task["batch_size"]} if "batch_size" in task else {}

        def run() -> None:
            rows = ray.data.from_arrow(blocks(tables.read(task["table"]), task["blocks"]))
            done = rows.map_batches(
                Actor,
                fn_constructor_args=(task["ask"],),
                compute=ray.data.ActorPoolStrategy(size=2),
                num_cpus=1,
                **size,
            )
            found = done.to_pandas()
            tables.save(task["out"], found["id"].tolist(), found["result"].tolist())

        return run

    return prepare


def blocks(table: pa.Table, count: int) -> list[pa.Table]:
    """Cut a table into blocks; `repartition` would wait for the CPUs that the actors hold."""
    size = -(-len(table) // count)
    return [table.slice(start, size) for start in range(0, len(table), size)]


if __name__ == "__main__":
    serve(make)

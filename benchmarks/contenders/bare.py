"""The bare loop: read Delta, ask the model, write Delta; in one process or in several."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.pool import Pool
from typing import Any

from bench import tables
from bench.serving import Options, Prepare, Work, serve

_asker: Any = None


def make(options: Options) -> Prepare:
    processes = options.get("processes", 1)
    pool = warm_pool(processes, options["ask"])
    has_met_rows = False

    def prepare(task: dict[str, Any]) -> Work:
        nonlocal pool, has_met_rows
        if has_met_rows:  # what the model keeps of them would help it with the next ones
            pool.terminate()
            pool = warm_pool(processes, options["ask"])
        has_met_rows = True

        def run() -> None:
            rows = tables.read(task["table"]).to_pydict()
            order = list(range(len(rows["id"])))
            if options["ask"].get("order") != "arrival":
                order.sort(key=lambda i: len(rows["body"][i]))
            shares = [order[i::processes] for i in range(processes)]  # alike in their lengths
            parts = pool.map(answer, [[rows["body"][i] for i in share] for share in shares])
            results: dict[int, str | None] = {}
            for share, answers in zip(shares, parts, strict=True):
                results.update(zip(share, answers, strict=True))
            tables.save(task["out"], rows["id"], [results[i] for i in range(len(rows["id"]))])

        return run

    return prepare


def warm_pool(processes: int, ask: dict[str, Any]) -> Pool:
    """Return processes that have loaded the model."""
    pool = multiprocessing.get_context("spawn").Pool(processes, initializer=load, initargs=(ask,))
    pool.map(answer, [["It is warm. It is ready."]] * processes, chunksize=1)
    return pool


def load(ask: dict[str, Any]) -> None:
    """Load the model in a process of the pool: by its class, or as a loop around `generate`."""
    global _asker
    from bench.asking import Asker

    if ask.get("loop") == "generate":
        from contenders.generate_loop import GenerateLoop

        _asker = GenerateLoop(ask)
    else:
        _asker = Asker(ask)


def answer(texts: Sequence[str]) -> list[str | None]:
    """Answer a share of the rows."""
    return _asker(texts)


if __name__ == "__main__":
    serve(make)

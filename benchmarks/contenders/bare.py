"""The bare loop: read Delta, ask the model, write Delta; in one process or in several."""

import multiprocessing
from collections.abc import Sequence
from itertools import count
from typing import Any

from bench import tables
from bench.serving import Options, Prepare, Work, serve

_asker: Any = None
_trial = 0


def make(options: Options) -> Prepare:
    processes = options.get("processes", 1)
    pool = multiprocessing.get_context("spawn").Pool(
        processes, initializer=load, initargs=(options["ask"],)
    )
    pool.map(answer, [(0, ["It is warm. It is ready."])] * processes)
    trials = count(1)

    def prepare(task: dict[str, Any]) -> Work:
        trial = next(trials)

        def run() -> None:
            rows = tables.read(task["table"]).to_pydict()
            order = list(range(len(rows["id"])))
            if options["ask"].get("order") != "arrival":
                order.sort(key=lambda i: len(rows["body"][i]))
            shares = [order[i::processes] for i in range(processes)]  # alike in their lengths
            texts = [(trial, [rows["body"][i] for i in share]) for share in shares]
            parts = pool.map(answer, texts)
            results: dict[int, str | None] = {}
            for share, answers in zip(shares, parts, strict=True):
                results.update(zip(share, answers, strict=True))
            tables.save(task["out"], rows["id"], [results[i] for i in range(len(rows["id"]))])

        return run

    return prepare


def load(ask: dict[str, Any]) -> None:
    """Load the model in a process of the pool: by its class, or as a loop around `generate`."""
    global _asker
    from bench.asking import Asker

    if ask.get("loop") == "generate":
        from contenders.generate_loop import GenerateLoop

        _asker = GenerateLoop(ask)
    else:
        _asker = Asker(ask)


def answer(share: tuple[int, Sequence[str]]) -> list[str | None]:
    """Answer a share of a trial's rows; a worker of the peers has met none of others either."""
    global _trial
    trial, texts = share
    if trial != _trial and hasattr(_asker, "forget"):
        _asker.forget()
    _trial = trial
    return _asker(texts)


if __name__ == "__main__":
    serve(make)

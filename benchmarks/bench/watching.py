"""What goes on in a process, watched from outside of the code: journals, and tokens of prompts."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from bench.models import NOTES, note

DAEMON = {"spark.python.daemon.module": "bench.watched_daemon"}
"""Settings of a session whose workers are watched."""
JOURNAL = ("answers", "writes", "wall", "cpu")
PREFILL = ("computed", "padded")


class _Clock:
    """What a journal took so far; a timed call within another one counts once."""

    def __init__(self) -> None:
        self.is_running = False
        self.clear()

    def clear(self) -> None:
        self.answers = self.writes = 0
        self.wall = self.cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        if self.is_running:
            yield
            return
        self.is_running = True
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.thread_time() - cpu
            self.is_running = False


def time_journals() -> None:
    """Note at the end of each task what its journal took; call it once in a process.

    The note has the fields of JOURNAL: answers kept, calls of `add`, and the seconds and CPU
    seconds of the task's thread in `found`, `add` and `close`.
    """
    from udfs.task_journal import TaskJournal

    clock = _Clock()
    found, add, close = TaskJournal.found, TaskJournal.add, TaskJournal.close

    @wraps(found)
    def timed_found(journal: TaskJournal, **which: bool) -> Any:
        with clock.running():
            return found(journal, **which)

    @wraps(add)
    def timed_add(journal: TaskJournal, rows: Any) -> None:
        with clock.running():
            add(journal, rows)
        clock.answers += len(rows)
        clock.writes += bool(rows)

    @wraps(close)
    def timed_close(journal: TaskJournal) -> None:
        of_task = not clock.is_running
        with clock.running():
            close(journal)
        if of_task:
            note(f"journal {clock.answers} {clock.writes} {clock.wall} {clock.cpu}")
            clock.clear()

    for method, timed in ((found, timed_found), (add, timed_add), (close, timed_close)):
        setattr(TaskJournal, method.__name__, timed)


def count_prompts(network: Any) -> None:
    """Note how many tokens of prompts each pass of a model computes, without and with padding."""

    def before(_: Any, arguments: tuple[Any, ...], given: dict[str, Any]) -> None:
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        if ids is None or ids.shape[1] == 1:  # the last token of an answer
            return
        computed = ids.numel() if mask is None else int(mask[:, -ids.shape[1] :].sum())
        note(f"prefill {computed} {ids.numel()}")

    network.register_forward_pre_hook(before, with_kwargs=True)


def watch_models() -> None:
    """Note each load of a transformers model of gristmill in this process; count its prompts."""
    from chains.models.transformers import model

    loaded: Callable[..., Any] = model.load_weights

    @wraps(loaded)
    def counted(*arguments: Any) -> Any:
        network = loaded(*arguments)
        note("load")
        count_prompts(network)
        return network

    setattr(model, "load_weights", counted)  # noqa: B010 - by a name that the module imports


def watched() -> dict[str, dict[str, float]]:
    """Return the sums over all notes of a trial, by kind; empty where nothing was watched."""
    path = Path(os.environ.get(NOTES, ""))
    lines = [it.split()[1:] for it in path.read_text().splitlines()] if path.is_file() else []
    sums: dict[str, dict[str, float]] = {}
    for kind, names in (("journal", JOURNAL), ("prefill", PREFILL)):
        found = [map(float, numbers) for what, *numbers in lines if what == kind]
        if found:
            sums[kind] = dict(zip(names, map(sum, zip(*found, strict=True)), strict=True))
    return sums

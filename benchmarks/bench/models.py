"""Models of the benchmarks, named as `python:bench.models:CLASS`; they run in Spark's workers."""

import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from chains.models.base import Answer, Message, ModelRef, Outcome, Outcomes, Request, Usage
from chains.models.extractive import ExtractiveModel, resolve_extractive

NOTES = "BENCH_NOTES"


def note(what: str) -> None:
    """Append a line to the file in $BENCH_NOTES; short appends do not mix."""
    path = os.environ.get(NOTES)
    if path:
        with Path(path).open("a") as file:
            file.write(f"{os.getpid()} {what}\n")


class Free:
    """Answers with the document, at no cost."""

    version = "1"
    context_window: int | None = None

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        return [Answer(str(it.variables["document"]), "stop", Usage(1, 1), 0.0) for it in requests]


class Load(Free):
    """Free, once its weights are there: `Load_SECONDS_ANYTHING` is a model of its own.

    A new ANYTHING is a model that no worker has loaded yet.
    """

    seconds = 0.0

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        _ = self._weights
        return super().complete(requests)

    @cached_property
    def _weights(self) -> bool:
        time.sleep(self.seconds)
        note("load")
        return True


class CountedExtractive(ExtractiveModel):
    """The extractive model; notes each load and how many documents each call brings."""

    version = "1"

    def __init__(self, ref: ModelRef) -> None:
        super().__init__(resolve_extractive())
        self._loaded = False

    def stream(self, requests: Sequence[Request]) -> Iterator[Outcomes]:
        if not self._loaded:
            note("load")
            self._loaded = True
        note(f"call {len(requests)}")
        return super().stream(requests)


def __getattr__(name: str) -> type[Load]:
    kind, _, rest = name.partition("_")
    if kind != "Load" or not rest:
        raise AttributeError(name)
    made = type(name, (Load,), {"seconds": float(rest.split("_")[0]), "__module__": __name__})
    globals()[name] = made
    return made

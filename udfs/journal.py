"""Answers on their way to the ledger: a folder a pass, beside the ledger's data.

Executors write each answer there before they ask for more (udfs/task_journal.py), so what a killed
run had answered is found again: by a retried task, by a micro-batch that comes again, and by the
next run, which takes the journals of dead runs into the ledger.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import time

from pyspark.sql import DataFrame, SparkSession

from chains.errors import JobError
from udfs.claims import Claims
from udfs.columns import ledger_type
from udfs.files import Place
from udfs.lease import LEASE, Lease, dead, declare_dead
from udfs.taken import TAKEN, content_of, is_taken, tell_taken
from udfs.task_journal import Span, spans

KEPT_AFTER_DEATH = timedelta(days=1)
_WHOLE = "_SUCCESS"


@dataclass(frozen=True)
class Journal:
    """The journals of one ledger; `folder` is any path that Spark and the executors can write."""

    spark: SparkSession
    folder: str

    @property
    def claims(self) -> Claims:
        """What the runs of these journals are asking."""
        return Claims(Place(self.spark, self.folder))

    def path_of(self, name: str) -> str:
        """Return the folder of a journal, for the tasks that write it."""
        return f"{self.folder}/{name}"

    def alive(self, name: str) -> Lease:
        """Return what tells that this run writes a journal, and takes it into the ledger itself.

        While its block runs, no other run takes what is in the journal.
        """
        return Lease(self._place(name) / LEASE)

    @contextmanager
    def written(self, name: str) -> Iterator[None]:
        """Let tasks write a journal in the block; at its end the journal is whole.

        Raises JobError where another run has taken this one for dead: the next run that opens the
        ledger takes what was answered since.
        """
        yield
        if (self._place(name) / TAKEN).exists():
            raise JobError(
                f"journal {name}: this run stood still for so long that another one took it for "
                "dead. Run it again: what was answered comes into the ledger first"
            )
        self.finish(name)

    def finish(self, name: str) -> None:
        """Mark a journal that gets no more answers."""
        (self._place(name) / _WHOLE).replace(b"")

    def is_whole(self, name: str) -> bool:
        """Whether a journal gets no more answers."""
        return (self._place(name) / _WHOLE).exists()

    def read(self, *names: str) -> DataFrame:
        """Return the answers of journals, each as often as it was paid for."""
        paths = [path for name in names for path in self._paths(name)]
        if not paths:
            return self.spark.createDataFrame([], ledger_type())
        return self.spark.read.schema(ledger_type()).parquet(*paths)

    def has_retries(self, name: str) -> bool:
        """Whether a task was tried more than once, and an answer may be there twice."""
        found = spans(self._place(name).names())
        return len({it.task for it in found}) < len({(it.task, it.writer) for it in found})

    def exists(self, name: str) -> bool:
        """Whether there may be answers under this name."""
        return self._place(name).exists()

    def drop(self, name: str) -> None:
        """Forget answers that the ledger has taken."""
        self._place(name).delete()

    def left(self) -> list[str]:
        """Return the names of journals that nobody else takes: whole ones, and those of dead runs.

        One that was taken is there once more when it has got newer answers, and is dropped when it
        got none for a day.
        """
        names = set(Place(self.spark, self.folder).names())
        leased = {it for it in names if (self._place(it) / LEASE).exists()}
        # A micro-batch's journal has no lease: its stream finds it again by its name.
        whole = {it for it in names - leased if self.is_whole(it) or self._is_old(it)}
        ended = whole | dead({it: self._place(it) / LEASE for it in leased})
        taken = {it for it in ended if is_taken(self._place(it))}
        for name in taken:
            if self._is_old(name, TAKEN):
                self.drop(name)
        return sorted(ended - taken)

    def content_of(self, name: str) -> str:
        """Return what tells the answers of a journal from those it has later."""
        return content_of(self._place(name))

    def told_taken(self, name: str, content: str) -> None:
        """Mark a journal of which the ledger has this content; its run counts as dead from now."""
        place = self._place(name)
        tell_taken(place, content)
        if (place / LEASE).exists():
            declare_dead(place / LEASE)

    def _is_old(self, name: str, file: str = "") -> bool:
        place = self._place(name)
        changed = (place / file if file else place).changed_at()
        return changed is not None and time() - changed > KEPT_AFTER_DEATH.total_seconds()

    def _paths(self, name: str) -> list[str]:
        """Return the folder, or its files where some are superseded."""
        names = self._place(name).names()
        kept = spans(names)
        if len(kept) == len([it for it in names if Span.of(it)]):
            return [self.path_of(name)] if kept else []
        return [f"{self.path_of(name)}/{it.name}" for it in kept]

    def _place(self, name: str) -> Place:
        return Place(self.spark, self.path_of(name))

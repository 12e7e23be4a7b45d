"""Journals of a stream on their way to the ledger: several in one commit, in the background."""

from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

from pyspark.sql import DataFrame, SparkSession

from udfs.ledger import Ledger

JOURNALS_A_COMMIT = 32
SECONDS_A_COMMIT = 30.0


class Taking:
    """Collects journals; what it has not brought to the ledger when it is killed, a later run does.

    `writer` is another one for each life of a stream, so that its commits are numbered anew.
    """

    def __init__(self, spark: SparkSession, ledger: Ledger, writer: str) -> None:
        self._spark, self._ledger, self._writer = spark, ledger, writer
        self._waiting: list[str] = []
        self._taking: Future[None] | None = None
        self._commits = 0
        self._took_at = monotonic()
        self._pool = ThreadPoolExecutor(1)

    def add(self, name: str) -> None:
        """Add a journal that nothing but the ledger needs any more."""
        self._waiting.append(name)
        if self._taking is not None and self._taking.done():
            self._wait()
        due = monotonic() - self._took_at >= SECONDS_A_COMMIT
        if self._taking is None and (due or len(self._waiting) >= JOURNALS_A_COMMIT):
            self._begin()

    def answers(self, spark: SparkSession) -> DataFrame:
        """Return all answers: the ledger's, and those that are on their way to it."""
        self._wait()
        rows = self._ledger.rows(spark)
        if not self._waiting and rows is not None:
            return rows
        waiting = self._ledger.lasting(spark, self._waiting)
        return waiting if rows is None else rows.unionByName(waiting)

    def version_of_others(self) -> int:
        """Return a number that changes with the ledger's version, but not by commits of this."""
        self._wait()
        return self._ledger.table.version(self._spark) - self._commits

    def close(self) -> None:
        """Bring all journals to the ledger."""
        self._wait()
        if self._waiting:
            self._begin()
            self._wait()
        self._pool.shutdown()

    def _begin(self) -> None:
        names, self._waiting = self._waiting, []
        self._took_at = monotonic()
        self._taking = self._pool.submit(self._take, names)

    def _wait(self) -> None:
        """Wait for journals that are being taken; raise what went wrong."""
        if self._taking is not None:
            taking, self._taking = self._taking, None
            taking.result()

    def _take(self, names: list[str]) -> None:
        self._ledger.take_all(self._spark, names, self._writer, self._commits)
        self._commits += 1
        journal = self._ledger.journal(self._spark)
        for name in names:
            journal.drop(name)

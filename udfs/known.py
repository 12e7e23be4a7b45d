"""Which fingerprints the ledger may know: a filter that workers carry, so that most never ask it.

A fingerprint is a sha256; its first 64 bits, sorted, answer in a binary search and take 8 bytes
each. A false "may know" costs a look-up, at 10 million answers for one new question in 10^12.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from pyspark import Broadcast
from pyspark.sql import SparkSession

from udfs.heads import head_of, heads_of
from udfs.ledger import Ledger

NEWER_AT_MOST = 200_000


@dataclass(frozen=True)
class Known:
    """The worker's end: fingerprints of the ledger as it was, and newer ones."""

    older: "Broadcast[np.ndarray]"
    newer: frozenset[int]

    def may_know(self, fingerprint: str) -> bool:
        """Whether the ledger may have an answer; never False where it has."""
        head = head_of(fingerprint)
        if head in self.newer:
            return True
        heads = self.older.value
        at = int(np.searchsorted(heads, np.uint64(head)))
        return at < len(heads) and int(heads[at]) == head


@dataclass
class KnownFingerprints:
    """The driver's end: reads the ledger's fingerprints once, then follows what is added.

    What others add to the ledger is seen when `refresh` finds a version that is not ours.
    """

    spark: SparkSession
    ledger: Ledger
    version: int = -1
    _heads: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    _older: "Broadcast[np.ndarray] | None" = None
    _newer: set[int] = field(default_factory=set)

    def refresh(self, version: int) -> None:
        """Read all fingerprints of the ledger again, unless they are of this version."""
        if version == self.version:
            return
        rows = self.ledger.rows(self.spark)
        heads = np.empty(0, np.uint64) if rows is None else heads_of(rows)
        self._send(np.union1d(heads, np.fromiter(self._newer, np.uint64)))
        self.version = version

    def add(self, fingerprints: Iterable[str]) -> None:
        """Add what was answered just now."""
        self._newer.update(head_of(it) for it in fingerprints)
        if len(self._newer) > NEWER_AT_MOST:
            self._send(np.union1d(self._heads, np.fromiter(self._newer, np.uint64)))

    @property
    def filter(self) -> Known:
        """The filter as of now."""
        if self._older is None:
            self._send(self._heads)
        assert self._older is not None
        return Known(self._older, frozenset(self._newer))

    def _send(self, heads: np.ndarray) -> None:
        if self._older is not None:
            self._older.unpersist()
        self._heads, self._newer = heads, set()
        self._older = self.spark.sparkContext.broadcast(heads)

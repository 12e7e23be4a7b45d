"""A task's end of a journal: every answer is in a file before the task asks for more."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql.pandas.types import to_arrow_type

from udfs.columns import ledger_type
from udfs.storage import Folder, check_writable

ROWS_A_FILE = 512

Row = Mapping[str, Any]


_NAME = re.compile(r"(\d+)\.([0-9a-f]+)\.(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Span:
    """A journal file's name: the task, who wrote it, the first and the last row it holds.

    Each TaskJournal is a `writer` of its own. A driver that is started again counts tasks and
    attempts anew, and what its first life paid for must not be written over.
    """

    task: int
    writer: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.task:05d}.{self.writer}.{self.first:08d}-{self.last:08d}.parquet"

    @classmethod
    def of(cls, name: str) -> "Span | None":
        """Read a file's name; None where it is none of a journal's."""
        found = _NAME.fullmatch(name)
        return cls(int(found[1]), found[2], int(found[3]), int(found[4])) if found else None

    def holds(self, other: "Span") -> bool:
        """Whether the other file's rows are in this one too."""
        same = (self.task, self.writer) == (other.task, other.writer)
        return same and self.first <= other.first and other.last <= self.last and self != other


def spans(names: Iterable[str]) -> list[Span]:
    """Return the files of a journal that hold all its rows, each row once.

    A file whose rows went into a larger one is left out: a kill came before it was deleted.
    """
    ordered = sorted(
        (span for name in names if (span := Span.of(name))),
        key=lambda it: (it.task, it.writer, it.first, -it.last),
    )
    kept: list[Span] = []
    for span in ordered:
        if not kept or not kept[-1].holds(span):
            kept.append(span)
    return kept


def may_pass(row: Row) -> bool:
    """Whether a row is an error that asking again may change."""
    return row["error"] is not None and bool(row["error"]["retryable"])


class TaskJournal:
    """Where one attempt of a task keeps its answers; `TaskJournal.of_this_task` opens it.

    Rows come in groups, and each group is a file at once. Small files do not pile up: they are
    written again as one when they have ROWS_A_FILE rows, and at the end.
    """

    def __init__(self, folder: Folder, schema: pa.Schema, task: int) -> None:
        self._folder, self._schema = folder, schema
        self._task, self._writer = task, uuid4().hex[:16]
        self._small: list[tuple[Span, pa.Table]] = []
        self._rows = 0

    @classmethod
    @contextmanager
    def of_this_task(cls, folder: str) -> Iterator["TaskJournal"]:
        """Give the journal of the Spark task that runs in this process.

        Raises JobError where no answer could be kept.
        """
        context = TaskContext.get()
        assert context is not None
        check_writable(folder.rpartition("/")[0])
        schema = pa.schema(to_arrow_type(ledger_type(), timezone="UTC"))
        journal = cls(Folder(folder), schema, context.partitionId())
        yield journal
        journal.close()

    def found(self, all_tasks: bool = False, passing: bool = False) -> dict[str, Row]:
        """Return what an earlier attempt left, by fingerprint: answers, and errors that last.

        With `passing`, errors that may pass too, where there is nothing else.
        """
        rows = sorted(self._read(all_tasks), key=lambda row: not may_pass(row))
        return {row["fingerprint"]: row for row in rows if passing or not may_pass(row)}

    def add(self, rows: Sequence[Row]) -> None:
        """Keep some rows; when this returns, they are safe."""
        if not rows:
            return
        self._write(pa.Table.from_pylist(list(rows), self._schema), self._rows)
        self._rows += len(rows)
        if sum(len(table) for _, table in self._small) >= ROWS_A_FILE:
            self.close()

    def close(self) -> None:
        """Write small files again as one."""
        small, self._small = self._small, []
        if len(small) > 1:
            self._write(pa.concat_tables([table for _, table in small]), small[0][0].first)
            self._small.clear()
            for span, _ in small:
                self._folder.delete(span.name)

    def _read(self, all_tasks: bool) -> list[Row]:
        while True:
            left = [it for it in spans(self._folder.names()) if all_tasks or it.task == self._task]
            with suppress(FileNotFoundError):  # its task has written it again in a larger one
                return [row for it in left for row in self._folder.read(it.name).to_pylist()]

    def _write(self, table: pa.Table, first: int) -> None:
        span = Span(self._task, self._writer, first, first + len(table) - 1)
        self._folder.write(span.name, table)
        self._small.append((span, table))

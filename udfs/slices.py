"""A micro-batch cut by tokens: slices in the order of its rows' places, one done after the other.

A slice is named by its place in the micro-batch, not by its number: the rows of a micro-batch and
their order never change, while limit, template and tokenizer may. So whoever goes on with a begun
micro-batch goes on at the row after the last slice that is written, and cuts the rest anew.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from chains.errors import JobError
from udfs.completion import tokens_udf
from udfs.work import PART_ERROR, Work

_PLACE = "_place_"
_TOKENS = "_flow_tokens"
_PAST_ALL = 2**32 - 1


@dataclass(frozen=True)
class Slice:
    """Rows `first` to before `end` of the `of` places of a micro-batch; `end` None: all of it."""

    batch: int
    first: int = 0
    end: int | None = None
    of: int | None = None

    @property
    def number(self) -> int:
        """A number that grows from slice to slice and from micro-batch to micro-batch."""
        return (self.batch << 32) + (_PAST_ALL if self.is_last else int(self.end or 0))

    @property
    def is_last(self) -> bool:
        """Whether the micro-batch is done when this is."""
        return self.end == self.of

    def told(self) -> dict[str, Any]:
        """Return what a table's history tells of it."""
        if self.end is None:
            return {"batch": self.batch}
        return {"batch": self.batch, "slice": {"first": self.first, "end": self.end, "of": self.of}}

    @classmethod
    def read(cls, told: dict[str, Any]) -> "Slice":
        """Return the slice that a table's history tells of."""
        return cls(told["batch"], **told.get("slice", {}))

    def __str__(self) -> str:
        if self.end is None:
            return f"batch {self.batch}"
        return f"batch {self.batch}, rows {self.first + 1:,} to {self.end:,} of {self.of:,}"


@dataclass(frozen=True)
class Places:
    """The places of a micro-batch's rows in their order, with the tokens that each may take."""

    columns: Sequence[Column]
    found: pa.Table

    @classmethod
    def of(cls, rows: DataFrame, work: Work, columns: Sequence[Column], counted: bool) -> "Places":
        """Read the places; render every row and count its tokens where they are `counted`."""
        named = [column.alias(f"{_PLACE}{i}") for i, column in enumerate(columns)]
        names = [f"{_PLACE}{i}" for i in range(len(columns))]
        tokens = tokens_udf(work.pinned)(work.variables()) if counted else F.lit(0)
        prepared = rows.select(*named, *work.prepared(rows))
        asked = F.when(F.col(PART_ERROR).isNull(), F.col(_TOKENS)).otherwise(0)
        counted_rows = prepared.select(*names, PART_ERROR, tokens.cast("bigint").alias(_TOKENS))
        found = counted_rows.select(*names, asked.alias(_TOKENS)).toArrow()
        together = found.group_by(names).aggregate([(_TOKENS, "sum")])
        return cls(columns, together.sort_by([(name, "ascending") for name in names]))

    @cached_property
    def tokens(self) -> list[int]:
        """The tokens at each place."""
        counted: list[int] = self.found[f"{_TOKENS}_sum"].to_pylist()
        return counted

    def rows(self, rows: DataFrame, piece: Slice) -> DataFrame:
        """Return the rows of a slice."""
        if piece.first > 0:
            rows = rows.where(F.struct(*self.columns) > self._bound(piece.first))
        if piece.end is not None and piece.end < len(self.tokens):
            rows = rows.where(F.struct(*self.columns) <= self._bound(piece.end))
        return rows

    def _bound(self, end: int) -> Column:
        """Return the place of the last row before `end`."""
        last = self.found.slice(end - 1, 1).to_pylist()[0]
        kinds = {pa.string(): "string", pa.int32(): "int", pa.int64(): "bigint"}
        return F.struct(
            *(
                F.lit(last[field.name]).cast(kinds[field.type])
                for field in self.found.schema
                if field.name.startswith(_PLACE)
            )
        )


@contextmanager
def cut(
    rows: DataFrame, work: Work, places: Sequence[Column], limit: int | None, begun: Slice
) -> Iterator[list[tuple[Slice, DataFrame]]]:
    """Give the slices of a micro-batch that are not done, each with its rows.

    `places` are strings, ints or bigints, never null, that order the rows. `begun` is the last
    slice that is written (`nothing` where none is): it comes again first, since a run may have been
    killed before all of it was done; where it is the last one, the micro-batch comes as a whole.
    Without a `limit` in tokens the rest is one slice. Raises JobError where the rows are not those
    of the micro-batch that was begun.
    """
    if begun.is_last or (begun.end == 0 and limit is None):
        yield [(Slice(begun.batch), rows)]
        return
    held = rows.persist()
    try:
        ordered = Places.of(held, work, places, limit is not None)
        yield [(piece, ordered.rows(held, piece)) for piece in _pieces(ordered, limit, begun)]
    finally:
        held.unpersist()


def nothing(batch: int) -> Slice:
    """Return the slice that stands for a micro-batch of which nothing is written."""
    return Slice(batch, end=0)


def ends(tokens: Sequence[int], start: int, limit: int | None) -> list[int]:
    """Return where slices end that begin at `start`: each as many rows as fit, at least one."""
    found, first, total = [], start, 0
    for i in range(start, len(tokens)):
        if limit is not None and i > first and total + tokens[i] > limit:
            found.append(i)
            first, total = i, 0
        total += tokens[i]
    return [*found, len(tokens)] if start < len(tokens) else found


def _pieces(ordered: Places, limit: int | None, begun: Slice) -> list[Slice]:
    batch, of, done = begun.batch, len(ordered.tokens), int(begun.end or 0)
    if done and begun.of != of:
        raise JobError(
            f"micro-batch {batch}: it was begun with {begun.of} rows and has {of} now. Restore "
            "source.key and the schema that it was begun with; change them when it is done"
        )
    found = ends(ordered.tokens, done, limit)
    if not done and len(found) <= 1:
        return [Slice(batch)]
    rest = [Slice(batch, *span, of) for span in pairwise([done, *found])]
    return [begun, *rest] if done else rest

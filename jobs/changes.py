"""What a refresh has to look at: rows to answer, keys that are gone, dead letters that stay."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from udfs.names import column_of
from udfs.work import FLOW

MARK = "deleted_at"
_RANK = f"{FLOW}rank"


@dataclass(frozen=True)
class Changes:
    """What is to be done; a context manager that gives back what it has persisted.

    `how` is `all` (there is no target), `feed` or `comparison`; `because` says of a comparison why
    no feed would do. `gone` are keys whose row is gone, `letters` the dead letters that stay (None
    where there is no such table). `there` is what answers are compared with once more: a long
    input has its fingerprint only after its parts. `to_answer` and `to_remove` count rows and gone
    keys, None where nobody has counted. `adds` is whether the target may lack a row to answer.
    """

    how: str
    because: str
    rows: DataFrame
    gone: DataFrame | None = None
    letters: DataFrame | None = None
    there: DataFrame | None = None
    to_answer: int | None = None
    to_remove: int = 0
    persisted: tuple[DataFrame, ...] = ()
    adds: bool = True

    @property
    def is_nothing(self) -> bool:
        """Whether the feed says that target and dead letters are as they should be."""
        return self.how == "feed" and self.to_answer == 0 and self.to_remove == 0

    def __enter__(self) -> "Changes":
        return self

    def __exit__(self, *_: object) -> None:
        for frame in self.persisted:
            frame.unpersist()


def has_column(rows: DataFrame, name: str) -> bool:
    """Whether rows have a column of this name, which may be in backticks; case does not matter."""
    return column_of(name).lower() in (it.lower() for it in rows.columns)


def has_marks(target: DataFrame, keep: Sequence[str]) -> bool:
    """Whether a target's column `deleted_at` is a refresh's, not a kept one of its source."""
    return has_column(target, MARK) and MARK not in (it.lower() for it in keep)


def same_values(
    left: DataFrame, right: DataFrame, columns: Sequence[str], names: tuple[str, str]
) -> Column:
    """Return the condition that two aliased frames have the same in all columns, nulls too.

    A column that only the left one has is never the same.
    """
    same = F.lit(True)
    for column in columns:
        if not has_column(right, column):
            return F.lit(False)
        mine, theirs = (
            comparable(frame, column, f"{name}.{column}")
            for frame, name in zip((left, right), names, strict=True)
        )
        same = same & mine.eqNullSafe(theirs)
    return same


def comparable(rows: DataFrame, column: str, name: str | None = None) -> Column:
    """Return a column in a form that Spark compares and hashes; not so maps and variants."""
    kind = rows.select(F.col(column)).schema[0].dataType
    value = F.col(name or column)
    compares = isinstance(kind, T.AtomicType) and not isinstance(kind, T.VariantType)
    return value if compares else F.to_json(F.struct(value.alias("it")))


def first_of_each(
    rows: DataFrame, group: Sequence[Column | str], order: Sequence[Column]
) -> DataFrame:
    """Return the row of each group that comes first in an order."""
    rank = F.row_number().over(Window.partitionBy(*group).orderBy(*order))
    return rows.withColumn(_RANK, rank).where(f"{_RANK} = 1").drop(_RANK)


def with_keys(rows: DataFrame, keys: DataFrame, key: Sequence[str], how: str) -> DataFrame:
    """Return the rows that have (`left_semi`) or lack (`left_anti`) one of the keys, nulls too."""
    same = same_values(rows, keys, key, ("_row", "_key"))
    return rows.alias("_row").join(keys.alias("_key"), same, how)

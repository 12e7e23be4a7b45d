"""How misses lie in tasks: those that begin alike together, or else those of alike lengths."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from chains.base import Chain
from chains.outline import outline
from udfs.work import variable

LENGTH_CLASSES = 8
WORTH_SHARING = 0.1  # of the misses' bytes; below it, alike lengths save more
SHARES = [i / LENGTH_CLASSES for i in range(1, LENGTH_CLASSES)]
MOST_TASKS = 32  # for each core


@dataclass(frozen=True)
class TaskSize:
    """Into how many tasks misses are cut.

    A task has `least` to `most` rows. Up to that many rows a core gets `each_core` tasks or fewer:
    the more, the more evenly cores are busy. `by_length` is whether a task's rows are of alike
    lengths.
    """

    least: int = 8
    most: int = 256
    each_core: int = 8
    by_length: bool = True

    @classmethod
    def of(cls, kind: str) -> "TaskSize":
        """Return what is best for a kind of model."""
        return _SIZES.get(kind, cls())

    def tasks(self, rows: int, cores: int) -> int:
        """Return the number of tasks; where cores have several, as many for each."""
        fewest = min(self.each_core * cores, math.ceil(rows / self.least))
        wanted = max(math.ceil(rows / self.most), fewest)
        each = min(math.ceil(wanted / cores), MOST_TASKS)
        return wanted if each <= 1 else each * cores


# Models that batch compute more tokens a second the more rows they have. A server answers each row
# by itself, and at each task's end some of its requests' slots stand empty.
_SERVED = TaskSize(most=1024, each_core=2, by_length=False)
_SIZES = {
    "transformers": TaskSize(least=64, each_core=4),
    "extractive": TaskSize(least=96),
    "endpoint": _SERVED,
    "sidecar": _SERVED,
}


def length(chain: Chain) -> Column:
    """Return the bytes of a prepared row's texts."""
    return _bytes(name for name, kind in chain.template.variables.items() if kind == "string")


def beginning(chain: Chain) -> list[Column]:
    """Return the column `_begins` of a prepared row; none where the template has one variable.

    In the order of the prompt: hashes of the first variable and of all but the last, which order
    rows by what they share, and the bytes of both.
    """
    leading = outline(chain.template).variables[:-1]
    if not leading:
        return []
    begins = F.struct(
        F.hash(_text(leading[0])).alias("first"),
        F.hash(*map(_text, leading)).alias("leading"),
        _bytes(leading[:1]).alias("first_bytes"),
        _bytes(leading).alias("leading_bytes"),
    )
    return [begins.alias("_begins")]


def repeated_bytes(begins: Column) -> Column:
    """Return the bytes with which rows begin as another one does, as an aggregate; estimated.

    `begins` is the column of `beginning`, null where a row does not count.
    """

    def repeated(size: Column, hashed: str) -> Column:
        new = F.approx_count_distinct(begins[hashed]) / F.greatest(F.count(begins), F.lit(1))
        return F.coalesce(F.sum(size), F.lit(0)) * F.greatest(1 - new, F.lit(0.0))

    rest = begins["leading_bytes"] - begins["first_bytes"]
    return (repeated(begins["first_bytes"], "first") + repeated(rest, "leading")).cast("long")


def in_tasks_of_alike_lengths(payers: DataFrame, bounds: list[int], tasks: int) -> DataFrame:
    """Return the rows with `_task`: classes of alike lengths, longest first, laid over the tasks.

    Rows as long as several bounds are spread over all the classes between them, so that equal
    lengths still use every task.
    """
    length, hashed = F.col("_length"), F.xxhash64(*payers.columns)
    first = reduce(add, ((length < bound).cast("int") for bound in bounds), F.lit(0))
    last = reduce(add, ((length <= bound).cast("int") for bound in bounds), F.lit(0))
    in_class = first + F.pmod(hashed, last - first + 1)
    within = F.pmod(F.xxhash64(hashed), F.lit(1000)) / 1000
    task = F.floor((in_class + within) * tasks / (len(bounds) + 1)).cast("int")
    return payers.withColumn("_task", task)


def in_tasks_of_like_beginnings(payers: DataFrame, tasks: int) -> DataFrame:
    """Return the rows with `_task`: in the order of what they begin with, cut into equal tasks.

    What more rows share than a task has is cut by length. Costs a small job, which samples.
    """
    ranged = payers.repartitionByRange(tasks, F.col("_begins"), F.desc("_length"))
    return ranged.withColumn("_task", F.spark_partition_id())


def _bytes(names: Iterable[str]) -> Column:
    sizes = (F.coalesce(F.octet_length(_text(name)), F.lit(0)) for name in names)
    return reduce(add, sizes, F.lit(0))


def _text(name: str) -> Column:
    return F.col(variable(name)).cast("string")

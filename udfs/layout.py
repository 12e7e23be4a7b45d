"""How misses lie in tasks: with those that begin alike, or of alike length, or in equal shares."""

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate
from operator import add

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from chains.base import Chain
from chains.outline import outline
from udfs.task_size import Round
from udfs.work import variable

LENGTH_CLASSES = 8
WORTH_SHARING = 0.1  # of the misses' bytes; below it, alike lengths save more
SHARES = [i / LENGTH_CLASSES for i in range(1, LENGTH_CLASSES)]


def length(chain: Chain) -> Column:
    """Return the bytes of a prepared row's texts."""
    return _bytes(name for name, kind in chain.template.variables.items() if kind == "string")


def beginning(chain: Chain) -> list[Column]:
    """Return the column `_flow_begins` of a prepared row; none where the template has one variable.

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
    return [begins.alias("_flow_begins")]


def repeated_bytes(begins: Column) -> Column:
    """Return the bytes with which rows begin as another one does, as an aggregate; estimated.

    `begins` is the column of `beginning`, null where a row does not count.
    """

    def repeated(size: Column, hashed: str) -> Column:
        new = F.approx_count_distinct(begins[hashed]) / F.greatest(F.count(begins), F.lit(1))
        return F.coalesce(F.sum(size), F.lit(0)) * F.greatest(1 - new, F.lit(0.0))

    rest = begins["leading_bytes"] - begins["first_bytes"]
    return (repeated(begins["first_bytes"], "first") + repeated(rest, "leading")).cast("long")


def in_tasks_of_alike_lengths(
    payers: DataFrame, bounds: Sequence[int], work: Sequence[float], rounds: Sequence[Round]
) -> DataFrame:
    """Return the rows with `_flow_task`: classes of alike lengths, longest first, over the tasks.

    `bounds` part the classes, `work` is the share of each. Rows as long as several bounds are
    spread over all the classes between them, so that equal lengths still use every task.
    """
    length, hashed = F.col("_flow_length"), F.xxhash64(*payers.columns)
    first = reduce(add, ((length < bound).cast("int") for bound in bounds), F.lit(0))
    last = reduce(add, ((length <= bound).cast("int") for bound in bounds), F.lit(0))
    in_class = (first + F.pmod(hashed, last - first + 1)).cast("int")
    within = F.pmod(F.xxhash64(hashed), F.lit(1000)) / 1000
    before = list(accumulate(work, initial=0.0))
    number, place = F.col("_flow_class"), F.col("_flow_place")
    classed = payers.withColumn("_flow_class", in_class)
    placed = classed.withColumn("_flow_place", _of(before, number) + within * _of(work, number))
    return placed.withColumn("_flow_task", _task(place, rounds)).drop(number, place)


def in_tasks_of_as_many_rows(payers: DataFrame, tasks: int) -> DataFrame:
    """Return the rows with `_flow_task`: dealt out in turn; by a hash, tasks are a tenth apart."""
    return payers.repartition(tasks).withColumn("_flow_task", F.spark_partition_id())


def in_tasks_of_like_beginnings(payers: DataFrame, tasks: int) -> DataFrame:
    """Return the rows with `_flow_task`: ordered by what they begin with, cut into equal tasks.

    What more rows share than a task has is cut by length. Costs a small job, which samples.
    """
    ranged = payers.repartitionByRange(tasks, F.col("_flow_begins"), F.desc("_flow_length"))
    return ranged.withColumn("_flow_task", F.spark_partition_id())


def _bytes(names: Iterable[str]) -> Column:
    sizes = (F.coalesce(F.octet_length(_text(name)), F.lit(0)) for name in names)
    return reduce(add, sizes, F.lit(0))


def _text(name: str) -> Column:
    return F.col(variable(name)).cast("string")


def _of(values: Sequence[float], place: Column) -> Column:
    return F.element_at(F.array(*map(F.lit, values)), place + 1)


def _task(place: Column, rounds: Sequence[Round]) -> Column:
    """Return the number of the task in which a share of the work lies."""
    found = F.lit(0)
    for it in rounds:
        within = F.least(F.floor((place - it.begin) / it.each), F.lit(it.tasks - 1))
        found = F.when(place >= it.begin, it.first + within).otherwise(found)
    return found.cast("int")

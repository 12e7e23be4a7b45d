"""Whether a target's columns can hold what a run would write to them."""

from collections.abc import Iterable, Iterator

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from chains.errors import TableError
from udfs.delta import Table
from udfs.schema import REFUSED_BY_DELTA
from udfs.work import Work

_MAPPING = "columnMapping.mode"


def check_characters(spark: SparkSession, table: Table, names: Iterable[str]) -> None:
    """Raise TableError where a table, there or yet to be made, has no columns of these names."""
    odd = [name for name in names if not REFUSED_BY_DELTA.isdisjoint(name)]
    if not odd:
        return
    default = spark.conf.get(f"spark.databricks.delta.properties.defaults.{_MAPPING}", None)
    there = table.exists(spark)
    mapping = table.properties(spark).get(f"delta.{_MAPPING}") if there else default
    if mapping not in ("name", "id"):
        raise TableError(
            f"target.table {table.name!r}: no Delta table holds columns called {odd} unless its "
            f"delta.{_MAPPING} is name; rename them in the source"
        )


def check_types(
    name: str, there: DataFrame, work: Work, rows: DataFrame, result: T.DataType | None = None
) -> None:
    """Raise TableError for other types: Delta would cast what it merges, and make 0 of 0.5.

    `there` is the table of this name. `rows` are the source's; `result` is the type of their
    answers where it is not the chain's.
    """
    now = rows.select(*work.key, *work.keep).schema
    now = T.StructType([*now.fields, T.StructField("result", result or work.result_type)])
    if found := list(misfits(there.schema, now, "")):
        raise TableError(
            f"target.table {name!r}: its columns cannot hold what a run would write now: "
            f"{'; '.join(found)}. Choose another table, or change its columns"
        )


def misfits(there: T.DataType, now: T.DataType, where: str) -> Iterator[str]:
    """Give what is of another type in a table than it is now; `where` names the place.

    Fields that only one of them has are no misfits: Delta adds them, or leaves them null.
    """
    if isinstance(there, T.StructType) and isinstance(now, T.StructType):
        known = {field.name.lower(): field.dataType for field in there.fields}
        for field in now.fields:
            if found := known.get(field.name.lower()):
                yield from misfits(found, field.dataType, f"{where}.{field.name}".strip("."))
    elif isinstance(there, T.ArrayType) and isinstance(now, T.ArrayType):
        yield from misfits(there.elementType, now.elementType, f"{where}[]")
    elif isinstance(there, T.MapType) and isinstance(now, T.MapType):
        yield from misfits(there.keyType, now.keyType, f"{where} (keys)")
        yield from misfits(there.valueType, now.valueType, f"{where}[]")
    elif there != now:
        yield f"{where}: {there.simpleString()} there, {now.simpleString()} now"

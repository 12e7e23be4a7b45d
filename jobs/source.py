"""The source of a batch: found, pinned to a version, its columns and keys checked."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.base import Chain
from chains.errors import SettingsError, TableError
from jobs.changes import comparable, first_of_each
from jobs.settings import Settings, SourceSettings
from udfs.columns import completion_type
from udfs.delta import Table
from udfs.names import is_field, quoted
from udfs.work import FLOW, PART_ERROR, variable

_KINDS: Mapping[str, tuple[type[T.DataType], ...]] = {
    "string": (T.StringType,),
    "integer": (T.IntegralType,),
    "number": (T.NumericType,),
    "boolean": (T.BooleanType,),
    "any": (T.DataType,),
}
_TARGET_COLUMNS = {*completion_type(T.StringType()).fieldNames(), "source", "paid_by"}
_ON_THE_WAY = (FLOW, variable(""), PART_ERROR)


@dataclass(frozen=True)
class Source:
    """Rows of one version; `ref` is `table@version`, as rows carry it."""

    rows: DataFrame
    ref: str
    version: int


def variable_columns(columns: Mapping[str, str], chain: Chain) -> dict[str, str]:
    """Return the column of each template variable (by default the one of its name).

    Raises SettingsError where source.columns names a variable that the template does not have.
    """
    unknown = sorted(columns.keys() - chain.template.variables.keys())
    if unknown:
        raise SettingsError(
            f"source.columns: template {chain.template.ref} has the variables "
            f"{list(chain.template.variables)}, not {unknown}"
        )
    return {name: columns.get(name, name) for name in chain.template.variables}


def open_source(spark: SparkSession, settings: Settings, chain: Chain) -> Source:
    """Pin the source table and check that the job's columns are as it needs them.

    Raises TableError that names table, column, what was expected and what was found.
    """
    table = Table.named(settings.source.table)
    version = settings.source.version
    if version is None:
        version = table.version(spark)
        table.read_ahead(spark)
    rows = table.read(spark, version)
    ref = f"{settings.source.table}@{version}"
    _check_columns(ref, rows, settings, chain)
    if settings.source.duplicates == "last":
        rows = _last_of_each_key(rows, settings.source)
    return Source(rows, ref, version)


def _check_columns(ref: str, rows: DataFrame, settings: Settings, chain: Chain) -> None:
    check_variables(ref, rows, settings.source.columns, chain)
    order_by = [settings.source.order_by] if settings.source.order_by else []
    names = (*settings.source.key, *settings.kept)
    for column in [*names, *order_by]:
        type_of(ref, rows, column)
    check_names(ref, names)
    if quoted_keys := [it for it in settings.source.key if "`" in it]:
        raise TableError(
            f"table {ref}: source.key names {quoted_keys}; expected columns that need no "
            "backticks: rename them in a view of the source"
        )


def check_variables(ref: str, rows: DataFrame, columns: Mapping[str, str], chain: Chain) -> None:
    """Raise TableError where a variable's column is missing or of another type."""
    for name, column in variable_columns(columns, chain).items():
        expected = chain.template.variables[name]
        found = type_of(ref, rows, column)
        if not isinstance(found, _KINDS[expected]) or isinstance(found, T.BinaryType):
            raise TableError(
                f"table {ref}, column {column!r}: variable {name!r} of template "
                f"{chain.template.ref} expects {expected}, found {found.simpleString()}"
            )


def check_names(ref: str, names: Iterable[str]) -> None:
    """Raise TableError where keys and kept columns cannot all be columns of the target.

    Case does not tell columns of a Delta table apart, whatever Spark is set to.
    """
    names = sorted(names)
    if fields := [it for it in names if is_field(it)]:
        raise TableError(
            f"table {ref}: source.key and target.keep name {fields}, fields of a column; expected "
            "columns: give them names of their own in a view of the source"
        )
    taken = [it for it in names if _is_ours(it.lower())]
    if taken:
        raise TableError(
            f"table {ref}: columns {taken} of source.key or target.keep: the target or the job has "
            "its own of these names, whatever their case; rename them in the source"
        )
    times = Counter(it.lower() for it in names)
    twice = [it for it in names if times[it.lower()] > 1]
    if twice:
        raise TableError(
            f"table {ref}: source.key and target.keep name {twice}; expected each column once, "
            "and case does not tell them apart"
        )


def _is_ours(name: str) -> bool:
    return name in _TARGET_COLUMNS or name.startswith(_ON_THE_WAY)


def type_of(ref: str, rows: DataFrame, column: str) -> T.DataType:
    """Return a column's type. Raises TableError where there is no such column."""
    try:
        return rows.select(F.col(column)).schema[0].dataType
    except Exception:
        raise TableError(f"table {ref}: no column {column!r}; it has {rows.columns}") from None


def _last_of_each_key(rows: DataFrame, source: SourceSettings) -> DataFrame:
    """Return the newest row of each key."""
    if source.order_by is None:
        raise SettingsError("source.order_by: source.duplicates=last needs the column to order")
    tie_break = F.xxhash64(*(comparable(rows, quoted(it)) for it in rows.columns))
    return first_of_each(rows, source.key, [F.desc(source.order_by), tie_break])

"""Looking after a ledger: what it holds, its files, and what it has to forget."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import and_, or_
from pathlib import Path

from pydantic import ConfigDict
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import TableError
from jobs.settings import LedgerSettings, Section, SparkSettings
from jobs.targets import has_key
from udfs.conflicts import past_conflicts
from udfs.delta import Table
from udfs.ledger import Ledger, payer


class _Target(Section):
    model_config = ConfigDict(extra="ignore")

    table: str


class LedgerConf(Section):
    """What is read of any job's file: its ledger, and the target that answers went to."""

    model_config = ConfigDict(extra="ignore")

    ledger: LedgerSettings
    target: _Target | None = None
    spark: SparkSettings = SparkSettings()
    work_dir: Path = Path(".gristmill")


@dataclass(frozen=True)
class ModelUse:
    """What was answered by one model with one template; tokens as the model said."""

    model: str
    template: str
    answers: int
    errors: int
    input_tokens: int
    output_tokens: int
    first: str
    last: str


@dataclass(frozen=True)
class LedgerStats:
    """The size of a ledger, and what it holds; `bytes` and `files` of its newest version."""

    table: str
    bytes: int
    files: int
    uses: Sequence[ModelUse]

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Compacted:
    """Files of a ledger before and after; answers are as they were."""

    files_before: int
    files_after: int

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Forgotten:
    """Rows that left the ledger; their files go when `compact` has removed old files."""

    rows: int

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def run_stats(spark: SparkSession, settings: LedgerConf) -> LedgerStats:
    """Return what the ledger holds, journals of dead runs taken in."""
    ledger = _opened(spark, settings)
    counted = (
        ledger.table.read(spark)
        .groupBy("model", "template")
        .agg(
            F.count_if(F.col("error").isNull()).alias("answers"),
            F.count("error").alias("errors"),
            F.coalesce(F.sum("input_tokens"), F.lit(0)).alias("input_tokens"),
            F.coalesce(F.sum("output_tokens"), F.lit(0)).alias("output_tokens"),
            F.min("completed_at").cast("string").alias("first"),
            F.max("completed_at").cast("string").alias("last"),
        )
        .orderBy("model", "template")
        .collect()
    )
    size, files = ledger.table.size(spark)
    return LedgerStats(
        ledger.table.name, size, files, [ModelUse(**row.asDict()) for row in counted]
    )


def run_compact(spark: SparkSession, settings: LedgerConf, keep_hours: int | None) -> Compacted:
    """Write small files as large ones, clustered by fingerprint.

    With `keep_hours`, files that no version of the last so many hours needs are removed.
    """
    ledger = _opened(spark, settings)
    table = ledger.table
    before = table.size(spark)[1]
    ledger.compact(spark)
    if keep_hours is not None:
        table.vacuum(spark, keep_hours)
    return Compacted(before, table.size(spark)[1])


def run_forget(
    spark: SparkSession,
    settings: LedgerConf,
    key: Mapping[str, str],
    older_than: timedelta | None = None,
) -> Forgotten:
    """Remove all answers that are older, or else those that a source row got.

    A row's answers are those that it paid for, and those that target and dead letters have for its
    key; another row with the same question asks it anew. Raises TableError where a key's column is
    not the target's.
    """
    table = _opened(spark, settings).table
    rows = table.read(spark)
    if older_than is not None:
        is_old = F.col("completed_at") < F.lit(datetime.now(UTC) - older_than)
        count = rows.where(is_old).count()
        past_conflicts(table, lambda: table.delete_where(spark, is_old))
        return Forgotten(count)
    answers = _answers_of(spark, settings, rows, key).persist()
    count = rows.join(answers, "fingerprint", "left_semi").count()
    past_conflicts(table, lambda: table.delete(answers, ["fingerprint"]))
    answers.unpersist()
    return Forgotten(count)


def _answers_of(
    spark: SparkSession, settings: LedgerConf, rows: DataFrame, key: Mapping[str, str]
) -> DataFrame:
    """Return the fingerprints of a source row's answers."""
    as_text = T.StructType([T.StructField(name, T.StringType()) for name in key])
    paid, found = [_paid_for(key, as_text)], rows.select("fingerprint").where("false")
    for its in _written(spark, settings, key):
        paid.append(_paid_for(key, its.select(*key).schema))
        found = found.unionByName(its.where(has_key(key)).select("fingerprint"))
    found = found.unionByName(rows.where(reduce(or_, paid)).select("fingerprint"))
    return found.where("fingerprint is not null").distinct()


def _written(
    spark: SparkSession, settings: LedgerConf, key: Mapping[str, str]
) -> Iterator[DataFrame]:
    """Give what the job's target and its dead letters have."""
    target = None if settings.target is None else Table.named(settings.target.table)
    for table in (target, target.beside("_errors")) if target else ():
        if not table.exists(spark):
            continue
        its = table.read(spark)
        missing = sorted(set(key) - set(its.columns))
        if missing:
            raise TableError(
                f"table {table.name!r}: expected the key's columns, found no {missing}"
            )
        yield its


def _paid_for(key: Mapping[str, str], kinds: T.StructType) -> Column:
    """Return the condition that a row of the ledger was paid for by a source row with the key.

    The ledger has times in another form than users see them, so texts become values first.
    """
    values = {it.name: F.lit(key[it.name]).try_cast(it.dataType) for it in kinds}
    wanted = F.to_json(F.struct(*(value.alias(name) for name, value in values.items())))
    are_values = reduce(and_, (value.isNotNull() for value in values.values()))
    return are_values & (payer(kinds) == wanted)


def _opened(spark: SparkSession, settings: LedgerConf) -> Ledger:
    ledger = Ledger(Table.named(settings.ledger.table))
    if not ledger.table.exists(spark):
        raise TableError(f"ledger.table {ledger.table.name!r}: expected a ledger, found none")
    ledger.open(spark)
    return ledger

"""Send the dead letters of a stream through again: all of them, or those of some reasons."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import uuid4

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import TableError
from jobs.pinning import pin_stream
from jobs.stream_settings import COORDINATES, StreamSettings
from jobs.stream_source import StreamSource
from jobs.targets import is_dead
from udfs import flow
from udfs.delta import Commit, Table
from udfs.ledger import Ledger
from udfs.passes import Watch, unwatched
from udfs.straight_columns import MESSAGE
from udfs.work import Work


@dataclass(frozen=True)
class ReplayReport:
    """Dead letters that were taken, answered now, and left with their reason of now."""

    taken: int
    answered: int
    left: Mapping[str, int]

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def run_replay(
    spark: SparkSession,
    settings: StreamSettings,
    reasons: Sequence[str] = (),
    watch: Watch = unwatched,
) -> ReplayReport:
    """Ask for dead letters again; those that have an answer now move to the target.

    1. The target, where a row whose key is there stays as it is. 2. The dead letters lose what the
    target has. A crash in between leaves rows in both; the next replay ends it. Reasons are codes
    of docs/errors.md. Raises TableError where the stream has no dead letters.
    """
    target = Table.named(settings.target.table)
    letters = target.beside("_errors")
    if not letters.exists(spark):
        raise TableError(f"table {letters.name!r}: the stream has no dead letters")
    base = letters.version(spark)
    taken = letters.read(spark, base)
    if reasons:
        taken = taken.where(F.col("error.code").isin(list(reasons)))
    run_id, source, work = uuid4().hex, StreamSource(settings), pin_stream(settings)
    ledger = Ledger(Table.named(settings.ledger.table))
    ledger.open(spark)
    rows = _by_place(source, source.decode(source.again(taken)), work)
    with flow.run(rows, work, ledger, run_id, watch) as answered:
        now = answered.rows(run_id).persist()
        good = _new_to(target, now.where(~is_dead()).drop("raw", MESSAGE), work.key)
        moved = target.append(good, Commit(f"replay/{letters.name}", target.version(spark), run_id))
        _drop(spark, letters, now.where(~is_dead()), work.key)
        left = _by_code(now.where(is_dead()))
        now.unpersist()
    return ReplayReport(answered.counts.rows, moved, left)


def _by_place(source: StreamSource, decoded: DataFrame, work: Work) -> DataFrame:
    """Leave out letters that have no key: they cannot become a row of the target."""
    return decoded.dropna(subset=list(work.key)).dropDuplicates(list(work.key))


def _new_to(target: Table, rows: DataFrame, key: tuple[str, ...]) -> DataFrame:
    if not target.exists(rows.sparkSession):
        return rows
    there = target.read(rows.sparkSession).select(*key)
    return rows.join(there, list(key), "left_anti")


def _drop(spark: SparkSession, letters: Table, answered: DataFrame, key: tuple[str, ...]) -> None:
    place = COORDINATES if set(COORDINATES) <= set(answered.columns) else key
    same = " AND ".join(f"letter.{name} = answered.{name}" for name in place)
    table = (
        DeltaTable.forPath(spark, letters.name)
        if letters.is_path
        else DeltaTable.forName(spark, letters.relation)
    )
    matched = table.alias("letter").merge(answered.select(*place).alias("answered"), same)
    matched.whenMatchedDelete().execute()


def _by_code(dead: DataFrame) -> dict[str, int]:
    counted = dead.groupBy(F.col("error.code").alias("code")).agg(F.count("*").alias("rows"))
    return {row["code"]: row["rows"] for row in counted.collect()}

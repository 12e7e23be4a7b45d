"""A Delta table by name or by path: look at it, read it at a version, commit to it once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, cast

from delta.exceptions import ConcurrentTransactionException
from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import JobError, TableError
from udfs.alone import alone
from udfs.background import in_background
from udfs.commits import AnyCommit, Commit, session_conf
from udfs.names import parts, placed, quoted

_SESSION_CATALOG = "spark_catalog"
_PLAIN = re.compile(r"\w+", re.ASCII)
CHANGE_DATA_FEED = "delta.enableChangeDataFeed"
DELETION_VECTORS = "delta.enableDeletionVectors"
_ROWS_OF_ONE_FILE = 1_000
SENT_BYTES = 16 * 2**20  # of a merge's rows; more are shuffled
# Delta would take the table's own retention for any hours but none.
_HOURS_COUNT = {"spark.databricks.delta.vacuum.retentionWindowIgnore.enabled": "false"}
_NO_LOG = (AttributeError, TypeError, Py4JError)  # a platform's own Delta has none to look at
_MERGED_ROWS = ("numTargetRowsInserted", "numTargetRowsUpdated")
_OLD, _NEW = "old", "new"  # a table's rows and those that come, where they are compared
_ROWS_ARE_FOLLOWED = (CHANGE_DATA_FEED, "delta.enableRowTracking")


@dataclass(frozen=True)
class Table:
    """A Delta table: a catalog name of up to three levels, or a path (anything with a slash)."""

    name: str

    @classmethod
    def named(cls, name: str) -> "Table":
        """Return the table of a setting, its path as `placed` has it."""
        return cls(placed(name))

    @property
    def is_path(self) -> bool:
        """Whether the name is a path."""
        return "/" in self.name

    @property
    def relation(self) -> str:
        """The quoted name for SQL and `spark.table`. Raises TableError where it is none."""
        return f"delta.{quoted(self.name)}" if self.is_path else quoted(*parts(self.name))

    def beside(self, suffix: str) -> "Table":
        """Return the table whose name is this one's with a suffix."""
        if self.name.endswith("`"):
            return Table(f"{self.name[:-1]}{suffix}`")
        return Table(self.name.rstrip("/") + suffix)

    def exists(self, spark: SparkSession) -> bool:
        """Whether there is a Delta table at a path; whether a catalog has a table of this name.

        Raises TableError where there is no such catalog.
        """
        if self.is_path:
            return bool(DeltaTable.isDeltaTable(spark, self.name))
        with _told_of(self.name):
            return spark.catalog.tableExists(self.relation)

    def check_home(self, spark: SparkSession) -> None:
        """Raise TableError where no table of this name could be made."""
        if self.is_path:
            return
        *home, name = parts(self.name)
        with _told_of(self.name):
            there = not home or spark.catalog.databaseExists(quoted(*home))
            catalog = home[0] if len(home) > 1 else spark.catalog.currentCatalog()
        if catalog == _SESSION_CATALOG and not _PLAIN.fullmatch(name):
            raise TableError(
                f"table {self.name!r}: expected letters, digits and _, which is all that Spark's "
                f"own catalog takes, found {name!r}"
            )
        if there:
            return
        raise TableError(
            f"table {self.name!r}: expected a schema {quoted(*home)}, found none: make it with "
            f"CREATE SCHEMA {quoted(*home)}, or name another"
        )

    def version(self, spark: SparkSession) -> int:
        """Return the newest version, -1 where there is no table.

        Raises TableError where a catalog has something else of this name.
        """
        return _newest_version(spark, self._delta(spark)) if self.exists(spark) else -1

    def location(self, spark: SparkSession) -> str:
        """Return the folder that holds the table."""
        if self.is_path:
            return self.name
        table = self._delta(spark)
        try:
            return str(table._jdt.deltaLog().dataPath().toString())
        except _NO_LOG:
            detail = table.detail().select("location").first()
            return str(detail["location"])

    def alone(self, spark: SparkSession) -> AbstractContextManager[None]:
        """Return what keeps other jobs from committing meanwhile, where the storage does not.

        A catalog's table that is not there yet has no place to do so.
        """
        there = self.is_path or self.exists(spark)
        return alone(spark, self.location(spark)) if there else nullcontext()

    def read(self, spark: SparkSession, version: int | None = None) -> DataFrame:
        """Return the rows, of one version where it is given.

        Raises TableError where there is no such Delta table or version.
        """
        if not self.exists(spark):
            raise TableError(f"table {self.name!r}: expected a Delta table, found none")
        reader = spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        try:
            return reader.load(self.name) if self.is_path else reader.table(self.relation)
        except AnalysisException as error:
            reason = error.getCondition() or type(error).__name__
            raise TableError(f"table {self.name!r} at version {version}: {reason}") from error

    def properties(self, spark: SparkSession) -> dict[str, str]:
        """Return the table's properties."""
        return _metadata(spark, self._delta(spark))[1]

    def identity(self, spark: SparkSession) -> str:
        """Return what tells the table from a later one of the same name."""
        return _metadata(spark, self._delta(spark))[0]

    def size(self, spark: SparkSession) -> tuple[int, int]:
        """Return the bytes and the number of files of the newest version."""
        detail = self._delta(spark).detail().select("sizeInBytes", "numFiles").first()
        assert detail is not None
        return int(detail["sizeInBytes"]), int(detail["numFiles"])

    def read_ahead(self, spark: SparkSession) -> None:
        """Read the files and transactions of the newest version, beside what the caller does.

        Delta keeps them with the version; without, its first read waits for them.
        """

        def read() -> None:
            with suppress(AnalysisException, *_NO_LOG):
                _snapshot(spark, self._delta(spark)).setTransactions()

        in_background(read)

    def optimize(self, spark: SparkSession) -> None:
        """Write small files as large ones; rows stay as they are."""
        with self.alone(spark):
            spark.sql(f"OPTIMIZE {self.relation}")

    def vacuum(self, spark: SparkSession, keep_hours: int) -> None:
        """Remove files that no version of the last so many hours needs.

        Raises what Delta does for less than the table's own retention, a week by default.
        """
        with session_conf(spark, _HOURS_COUNT):
            self._delta(spark).vacuum(keep_hours)

    def changes(self, spark: SparkSession, first: int, last: int) -> DataFrame:
        """Return the change data feed of the versions from `first` to `last`.

        What is not there any more is told here, or when the rows are read.
        """
        reader = spark.read.format("delta").option("readChangeFeed", "true")
        reader = reader.option("startingVersion", first).option("endingVersion", last)
        return reader.load(self.name) if self.is_path else reader.table(self.relation)

    def append_once(self, rows: DataFrame, name: str, number: int = 0) -> None:
        """Add rows in a commit that lands once for each name, however often it is tried.

        Commits of one name have growing numbers. The table is there. Nothing is set on the
        session: other writes may go on in it.
        """
        options = {"txnAppId": f"gristmill/{name}", "txnVersion": str(number)}
        # Suppressed where another run is landing this very commit.
        with suppress(ConcurrentTransactionException), self.alone(rows.sparkSession):
            if self.is_path:
                rows.write.format("delta").mode("append").options(**options).save(self.name)
            else:
                rows.writeTo(self.relation).options(**options).append()

    def append(
        self, rows: DataFrame, commit: AnyCommit, properties: Mapping[str, str] | None = None
    ) -> int:
        """Add rows, creating the table where there is none; return how many were committed.

        A new table gets the properties.
        """
        self._write(rows, "append", commit, {"mergeSchema": "true", **(properties or {})})
        return self._landed(rows.sparkSession, commit)

    def overwrite(self, rows: DataFrame, commit: AnyCommit) -> int:
        """Replace all rows and the schema; return how many were committed."""
        self._write(rows, "overwrite", commit, {"overwriteSchema": "true"})
        return self._landed(rows.sparkSession, commit)

    def merge(
        self,
        rows: DataFrame,
        key: Sequence[str],
        commit: AnyCommit,
        properties: Mapping[str, str] | None = None,
    ) -> int:
        """Replace the rows of the same key, add the others; return how many were committed.

        `rows` must give the same values when read twice: Delta does so. A new table gets the
        properties.
        """
        spark = rows.sparkSession
        if not self.exists(spark):
            return self.append(rows, commit, properties)
        if self._can_replace(rows):
            self._replace(rows, key, commit)
        else:
            merging = self._merging(rows, key).whenMatchedUpdateAll().whenNotMatchedInsertAll()
            with self.alone(spark), session_conf(spark, commit.settings):
                merging.execute()
        return self._landed(spark, commit)

    def merge_changes(
        self,
        rows: DataFrame,
        key: Sequence[str],
        commit: Commit,
        mark: str | None = None,
        adds: bool = True,
        removes: bool = True,
    ) -> dict[str, int]:
        """Merge as `merge` does, deletions too; return what Delta counted, by the names of a MERGE.

        A row whose `run_id` is null names a key that is gone: its row is deleted, or gets the value
        of the column `mark`. `removes` is whether there are such rows. Without `adds` a MERGE may
        leave out rows of a new key; then small rows are joined where the table is, otherwise the
        whole table is sorted.
        """
        spark = rows.sparkSession
        if not removes and self._can_replace(rows):
            self._replace(rows, key, commit)
            counts = self._counts(spark, commit)
            updated = counts.get("numDeletedRows", 0)
            return dict(zip(_MERGED_ROWS, (_written(counts) - updated, updated), strict=True))
        gone, answered = "new.run_id IS NULL", "new.run_id IS NOT NULL"
        merging = self._merging(rows, key)
        if mark is None:
            merging = merging.whenMatchedDelete(gone)
        else:
            merging = merging.whenMatchedUpdate(gone, {mark: f"new.{quoted(mark)}"})
        merging = merging.whenMatchedUpdateAll(answered)
        if adds:
            merging = merging.whenNotMatchedInsertAll(answered)
        with self.alone(spark), session_conf(spark, commit.settings):
            merging.execute()
        return self._counts(spark, commit)

    def _can_replace(self, rows: DataFrame) -> bool:
        """Whether `_replace` does what a MERGE would, and nothing is lost by it.

        What the rows lack would be null, a feed would tell of updates as deletions and inserts, and
        rows would lose their ids. Without deletion vectors, Delta 4.4 finds the files to rewrite
        only where rows are sent to it. One that does not know it would overwrite the whole table.
        """
        spark = rows.sparkSession
        on = {name for name, value in self.properties(spark).items() if value == "true"}
        if DELETION_VECTORS not in on or not on.isdisjoint(_ROWS_ARE_FOLLOWED):
            return False
        has = {it.lower() for it in rows.columns}
        return has.issuperset(it.lower() for it in self.read(spark).columns) and _replaces(spark)

    def _replace(self, rows: DataFrame, key: Sequence[str], commit: AnyCommit) -> None:
        """Merge in one scan of the table's keys, where a MERGE takes three."""
        how = {"replaceOn": _same_key(key), "targetAlias": _OLD, "mergeSchema": "true"}
        self._write(_sent(rows).alias(_NEW), "overwrite", commit, how)

    def _merging(self, rows: DataFrame, key: Sequence[str]) -> Any:
        old = self._delta(rows.sparkSession).alias(_OLD)
        return old.merge(_sent(rows).alias(_NEW), _same_key(key)).withSchemaEvolution()

    def _write(
        self, rows: DataFrame, mode: str, commit: AnyCommit, options: dict[str, str]
    ) -> None:
        writer = rows.write.format("delta").mode(mode).options(**options)
        with self.alone(rows.sparkSession), session_conf(rows.sparkSession, commit.settings):
            if self.is_path:
                writer.save(self.name)
            else:
                writer.saveAsTable(self.relation)

    def lacks(self, rows: DataFrame, key: Sequence[str]) -> DataFrame:
        """Return the rows whose key the table does not have."""
        if not self.exists(rows.sparkSession):
            return rows
        return rows.join(self.read(rows.sparkSession).select(*key), list(key), "left_anti")

    def delete(self, rows: DataFrame, key: Sequence[str]) -> None:
        """Delete what has the key of one of the rows."""
        same_key = " AND ".join(f"old.{quoted(k)} = new.{quoted(k)}" for k in key)
        old = self._delta(rows.sparkSession).alias("old")
        with self.alone(rows.sparkSession):
            old.merge(rows.select(*key).alias("new"), same_key).whenMatchedDelete().execute()

    def delete_where(self, spark: SparkSession, condition: Column) -> None:
        """Delete the rows of which the condition holds."""
        with self.alone(spark):
            self._delta(spark).delete(condition)

    def history(self, spark: SparkSession, versions: int | None = None) -> DataFrame:
        """Return the newest versions, or all, the newest first."""
        found: DataFrame = self._delta(spark).history(versions)
        return found

    def _landed(self, spark: SparkSession, commit: AnyCommit) -> int:
        """Return the rows of a commit that lands once, 0 of another.

        Raises JobError where Delta skipped it, which it does silently.
        """
        return _written(self._counts(spark, commit)) if isinstance(commit, Commit) else 0

    def _counts(self, spark: SparkSession, commit: Commit) -> dict[str, int]:
        """Return what Delta counted in a commit; raise as `_landed` does."""
        since = self.history(spark, max(self.version(spark) - commit.base, 1))
        mine = since.where(F.col("userMetadata").contains(commit.run_id)).first()
        if mine is None:
            raise JobError(
                f"table {self.name!r}: another run committed since version {commit.base}; nothing "
                "of this run was written here. Run the job again: its answers are in the ledger"
            )
        metrics = mine["operationMetrics"]
        return {name: int(value) for name, value in metrics.items() if value.isdigit()}

    def _delta(self, spark: SparkSession) -> Any:
        if self.is_path:
            return DeltaTable.forPath(spark, self.name)
        with _told_of(self.name):
            return DeltaTable.forName(spark, self.relation)


def _written(metrics: Mapping[str, int]) -> int:
    if _MERGED_ROWS[0] in metrics:
        return sum(metrics.get(name, 0) for name in _MERGED_ROWS)
    return metrics.get("numOutputRows", 0) - metrics.get("numCopiedRows", 0)


def in_few_files(rows: DataFrame, count: int) -> DataFrame:
    """Have so many rows written as one file where they are few."""
    return rows.coalesce(1) if count <= _ROWS_OF_ONE_FILE else rows


def _same_key(key: Sequence[str]) -> str:
    return " AND ".join(f"{_OLD}.{quoted(k)} <=> {_NEW}.{quoted(k)}" for k in key)


def _replaces(spark: SparkSession) -> bool:
    """Whether the session's Delta has `replaceOn` (4.4 has)."""
    try:
        options = cast(Any, spark._jvm).org.apache.spark.sql.delta.DeltaOptions
        return str(options.REPLACE_ON_OPTION()) == "replaceOn"
    except _NO_LOG:
        return False


def _sent(rows: DataFrame) -> DataFrame:
    """Have rows that are small sent to every executor; the table that they meet stays there.

    Spark would see to that by itself, but that Delta's copy of the rows has no known size.
    """
    return F.broadcast(rows) if _bytes(rows) <= SENT_BYTES else rows


def _bytes(rows: DataFrame) -> int:
    """Return the size of rows as Spark estimates it, and knows it of persisted ones."""
    plan = cast(Any, rows)._jdf.queryExecution().optimizedPlan()
    return int(str(plan.stats().sizeInBytes()))


def _newest_version(spark: SparkSession, table: Any) -> int:
    """Read a table's version from its snapshot, which takes no Spark job; or from its history."""
    try:
        return int(_snapshot(spark, table).version())
    except _NO_LOG:
        newest = table.history(1).select("version").first()
        return int(newest["version"])


def _metadata(spark: SparkSession, table: Any) -> tuple[str, dict[str, str]]:
    """Read a table's id and properties: from its snapshot; or as its detail, which counts files."""
    try:
        told = _snapshot(spark, table).metadata()
        as_java = cast(Any, spark._jvm).scala.jdk.javaapi.CollectionConverters.asJava
        return str(told.id()), dict(as_java(told.configuration()))
    except _NO_LOG:
        detail = table.detail().select("id", "properties").first()
        return str(detail["id"]), dict(detail["properties"])


def _snapshot(spark: SparkSession, table: Any) -> Any:
    none = cast(Any, spark._jvm).scala.Option.apply(None)
    return table._jdt.deltaLog().update(False, none, none)


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Say of which table a catalog says no, and which names it would know."""
    try:
        yield
    except AnalysisException as error:
        (said, *_) = str(error).strip().splitlines()
        raise TableError(
            f"table {name!r}: expected a Delta table's name, schema.table or catalog.schema.table "
            f"of a catalog that the session has; it says {said}"
        ) from None

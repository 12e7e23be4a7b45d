"""Where rows end: the target and its dead letters, each written in one commit at most."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import EmptyInput, JobError, TableError
from jobs.changes import has_column, with_keys
from jobs.fitting import check_characters, check_types
from jobs.settings import TargetSettings
from udfs.cascade import Passes
from udfs.commits import Commit
from udfs.delta import Table
from udfs.work import Work


@dataclass(frozen=True)
class Target:
    """A target table and its dead-letter table `<target>_errors`.

    `app` is the same for every run of a job. The target holds answers and skipped rows; a row
    without an answer is a dead letter until a run answers it.
    """

    table: Table
    mode: str
    key: tuple[str, ...]
    app: str

    @classmethod
    def of(cls, settings: TargetSettings, key: tuple[str, ...]) -> "Target":
        """Return the target of a job's settings."""
        return cls(Table.named(settings.table), settings.mode, key, app=f"target/{settings.table}")

    @property
    def errors(self) -> Table:
        """The dead-letter table."""
        return self.table.beside("_errors")

    def check(self, spark: SparkSession, work: Work, rows: DataFrame) -> None:
        """Raise TableError where no run could write these tables, or did not write the target.

        `rows` are the source's.
        """
        if self.table.version(spark) < 0:
            self.table.check_home(spark)
        elif self.mode != "overwrite":
            there = self.table.read(spark)
            self._check_origin(there)
            check_types(self.table.name, there, work, rows)
        for table in (self.table, self.errors):
            check_characters(spark, table, (*work.key, *work.keep))

    def _check_origin(self, there: DataFrame) -> None:
        needed = (*self.key, "fingerprint", "error", "run_id")
        missing = sorted(it for it in needed if not has_column(there, it))
        if missing:
            raise TableError(
                f"target.table {self.table.name!r}: expected a table that this job wrote; it has "
                f"no columns {missing}. Choose another table, or target.mode overwrite"
            )

    def write(self, answered: Passes, run_id: str) -> "Written":
        """Write what changed. A run that finds the target as it should be commits nothing.

        1. The target: readers see it whole. 2. The dead letters: a crash in between leaves rows in
        both until the next run; the other order could leave them in neither.
        """
        spark = answered.spark
        base = self.table.version(spark)
        commit = Commit(self.app, base, run_id)
        fresh = self._fresh(answered.questions, spark, base)
        source = F.lit(answered.work.source)
        rows = answered.rows(run_id, fresh).withColumn("source", source).persist()
        counts = ends(rows)
        dead = failures(counts)
        answers = rows.where(~is_dead()).drop("raw")
        written = self._write_answers(answers, sum(counts.values()) > sum(dead.values()), commit)
        self._write_errors(rows.where(is_dead()), bool(dead), run_id)
        rows.unpersist()
        return Written(written, dead)

    def _fresh(self, questions: DataFrame, spark: SparkSession, base: int) -> DataFrame:
        """Return the questions whose rows the target lacks, or has for another question.

        Neither an empty input nor a row that cannot be asked has a fingerprint: `_flow_empty` tells
        them apart.
        """
        if base < 0 or self.mode == "overwrite":
            return questions
        there = self.table.read(spark, base)
        if self.mode == "append":
            return with_keys(questions, there.select(*self.key), self.key, "left_anti")
        is_empty = F.col("error.code") == EmptyInput.code
        empty = F.coalesce(is_empty, F.lit(False)).alias("_flow_empty")
        columns = (*self.key, "fingerprint", "_flow_empty")
        has = there.select(*self.key, "fingerprint", empty)
        fresh = with_keys(questions.select("*", empty), has, columns, "left_anti")
        return fresh.drop("_flow_empty")

    def _write_answers(self, rows: DataFrame, any_rows: bool, commit: Commit) -> int:
        if self.mode == "overwrite":
            return self.table.overwrite(rows, commit)
        if commit.base >= 0 and not any_rows:
            return 0
        if self.mode == "append":
            return self.table.append(rows, commit)
        return self.table.merge(rows, self.key, commit)

    def _write_errors(self, dead: DataFrame, any_dead: bool, run_id: str) -> None:
        """Replace the dead letters by those of now; every row that has no answer is among them."""
        spark = dead.sparkSession
        base = self.errors.version(spark)
        if not any_dead and (base < 0 or self.errors.read(spark).isEmpty()):
            return
        rows = dead.withColumn("result", F.lit(None).cast("string"))
        self.errors.overwrite(rows, Commit(self.app, base, run_id))


@dataclass(frozen=True)
class Written:
    """Rows that a run committed to the target, and rows among the dead letters now, by code."""

    target: int
    errors: Mapping[str, int]


def ends(rows: DataFrame) -> dict[str | None, int]:
    """Return how many rows end with each error, None for none."""
    counted = rows.groupBy("error.code").count().collect()
    return {row["code"]: row["count"] for row in counted}


def failures(counts: Mapping[str | None, int]) -> dict[str, int]:
    """Return of what `ends` counted the rows that have neither an answer nor an empty input."""
    return {code: n for code, n in counts.items() if code is not None and code != EmptyInput.code}


def has_key(key: Mapping[str, str]) -> Column:
    """Return the condition that a row has a key, its values as text."""
    return reduce(and_, (F.col(name).cast("string") == value for name, value in key.items()))


def is_dead() -> Column:
    """Return the condition that a row has neither an answer nor an empty input."""
    return F.col("error").isNotNull() & (F.col("error.code") != EmptyInput.code)


def refuse_failures(failed: Mapping[str, int]) -> None:
    """Raise JobError where rows failed, by code, and `on_error` is `fail`: before the target."""
    if failed:
        raise JobError(
            f"on_error is fail, and rows have no answer: {failed} by code; the target was "
            "not written, the answers of the other rows are in the ledger"
        )

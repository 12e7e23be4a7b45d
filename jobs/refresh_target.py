"""Where a refresh ends: updates, inserts and deletions in one commit, then the dead letters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import SettingsError
from jobs.changes import MARK, Changes, has_marks
from jobs.comparison import lacking_in
from jobs.in_step import InStep, makings_of
from jobs.refresh_settings import OnDelete, PlanSettings
from jobs.source import Source
from jobs.targets import Target, ends, failures, is_dead, refuse_failures
from udfs.cascade import Passes
from udfs.commits import Commit
from udfs.conflicts import past_conflicts
from udfs.delta import DELETION_VECTORS, Table, in_few_files
from udfs.work import Work

# With them a change of few rows rewrites few rows, not the files that hold them.
_PROPERTIES = {DELETION_VECTORS: "true"}


@dataclass(frozen=True)
class Kinds:
    """Rows that a refresh committed to the target, by kind."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class RefreshTarget:
    """A target and its dead letters, each at the version that the refresh is computed on.

    `base` and `letters_base` are -1 where there is no table.
    """

    target: Target
    keep: tuple[str, ...]
    on_delete: OnDelete
    fails: bool
    base: int
    letters_base: int

    @classmethod
    def open(cls, spark: SparkSession, settings: PlanSettings) -> "RefreshTarget":
        """Look at the tables. Raises SettingsError where marks would hit a column of the source."""
        target, keep = Target.of(settings.target, settings.source.key), settings.kept
        on_delete = settings.target.on_delete
        if on_delete == "mark" and MARK in (it.lower() for it in (*target.key, *keep)):
            raise SettingsError(
                f"target.on_delete: mark writes the column {MARK!r}, which is a key or kept; "
                "rename it in a view of the source, or choose delete or keep"
            )
        versions = target.table.version(spark), target.errors.version(spark)
        if versions[0] >= 0:
            target.table.read_ahead(spark)
        return cls(target, keep, on_delete, settings.on_error == "fail", *versions)

    def rows(self, spark: SparkSession) -> DataFrame:
        """Return the target as of the start."""
        return self.target.table.read(spark, self.base)

    def letters(self, spark: SparkSession) -> DataFrame | None:
        """Return the dead letters as of the start, None where there is no table."""
        found = self.letters_base >= 0
        return self.target.errors.read(spark, self.letters_base) if found else None

    def step(
        self, spark: SparkSession, settings: PlanSettings, work: Work, source: Source, run_id: str
    ) -> InStep:
        """Return what a run brings the target in step with."""
        identity = Table.named(settings.source.table).identity(spark)
        makings, bases = makings_of(work, settings), (self.base, self.letters_base)
        return InStep(run_id, identity, source.version, makings, *bases)

    def note(self, spark: SparkSession, step: InStep) -> None:
        """Tell that the target is in step with a newer version that changes nothing of it."""
        commit = Commit(self.target.app, self.base, step.run_id, step.told)
        none = self.rows(spark).where("false")
        past_conflicts(self.target.table, lambda: self.target.table.append(none, commit))

    def write(self, answered: Passes, changes: Changes, step: InStep) -> Kinds:
        """Write the target in one commit, then the dead letters.

        A crash in between is seen by the next run, which compares all rows (`letters_in_step`):
        until then a row may be in both or, if it has failed, in neither. Raises JobError where
        another run has committed to the target since the start.
        """
        run_id, fresh = step.run_id, answered.questions
        if changes.there is not None:
            fresh = lacking_in(fresh, changes.there, answered.work)
        source = F.lit(answered.work.source)
        rows = answered.rows(run_id, fresh).withColumn("source", source).persist()
        counts = ends(rows)
        failed = failures(counts)
        if self.fails:
            refuse_failures(failed)
        letters = self._letters_of_now(rows.where(is_dead()), bool(failed), changes, answered.spark)
        if letters is not None:
            step = replace(step, writes_letters=True)
        count = sum(counts.values()) - sum(failed.values())
        answers = in_few_files(rows.where(~is_dead()).drop("raw"), count)
        kinds = self._write_answers(answers, count, changes, step)
        if letters is not None:
            commit, table = Commit(self.target.app, self.letters_base, run_id), self.target.errors
            past_conflicts(table, lambda: table.overwrite(letters, commit))
        rows.unpersist()
        return kinds

    def errors(self, spark: SparkSession) -> dict[str, int]:
        """Return the rows that are dead letters now, by code."""
        table = self.target.errors
        return failures(ends(table.read(spark))) if table.exists(spark) else {}

    def _write_answers(
        self, answers: DataFrame, count: int, changes: Changes, step: InStep
    ) -> Kinds:
        table, spark = self.target.table, answers.sparkSession
        commit = Commit(self.target.app, self.base, step.run_id, step.told)
        marks = self.on_delete == "mark"
        if self.base < 0:
            new = answers.withColumn(MARK, F.lit(None).cast("timestamp")) if marks else answers
            written = past_conflicts(table, lambda: table.append(new, commit, _PROPERTIES))
            return Kinds(inserted=written)
        removes = self.on_delete != "keep" and changes.to_remove > 0
        if not count and not removes:
            self.note(spark, step)
            return Kinds()
        if marks or has_marks(self.rows(spark), self.keep):
            answers = answers.withColumn(MARK, F.lit(None).cast("timestamp"))
        if removes and changes.gone is not None:
            gone = changes.gone.withColumn(MARK, F.lit(datetime.now(UTC)))
            gone = gone if marks else gone.drop(MARK)
            answers = answers.unionByName(gone, allowMissingColumns=True)

        def merge(commit: Commit, adds: bool) -> dict[str, int]:
            key, mark = self.target.key, MARK if marks else None
            return past_conflicts(
                table, lambda: table.merge_changes(answers, key, commit, mark, adds, removes)
            )

        adds = changes.adds or marks  # with marked rows, who was updated could not be told
        counts = merge(commit, adds)
        if not adds and counts["numTargetRowsInserted"] + counts["numTargetRowsUpdated"] < count:
            # Somebody has taken rows from the target since the last refresh.
            counts = merge(replace(commit, base=table.version(spark)), True)
        return _kinds(counts, count)

    def _letters_of_now(
        self, dead: DataFrame, any_dead: bool, changes: Changes, spark: SparkSession
    ) -> DataFrame | None:
        """Return the dead letters as they should be, None where they are so already."""
        before, left = self.letters(spark), changes.letters
        new = dead.withColumn("result", F.lit(None).cast("string"))
        if before is None:
            return new if any_dead else None
        if left is None:  # all rows were asked: whatever is there is of another target
            return new
        if not any_dead and left.count() == before.count():
            return None
        return left.unionByName(new, allowMissingColumns=True)


def _kinds(counts: Mapping[str, int], answers: int) -> Kinds:
    """Tell apart what Delta counted: of the updated rows, those without an answer are marked."""
    inserted = counts.get("numTargetRowsInserted", 0)
    updated = answers - inserted
    marked = counts.get("numTargetRowsUpdated", 0) - updated
    return Kinds(inserted, updated, marked + counts.get("numTargetRowsDeleted", 0))

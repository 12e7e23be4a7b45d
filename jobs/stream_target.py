"""Where a micro-batch ends: target, dead letters and output topic, each commit landing once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from delta.exceptions import DeltaConcurrentModificationException
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from chains.errors import JobError, SettingsError, TableError
from jobs.checkpoint import GENERATION, Checkpoint
from jobs.stream_settings import COORDINATES, OutputSettings, StreamSettings
from jobs.stream_source import SOURCE, kafka_options
from jobs.targets import is_dead
from udfs.delta import Numbered, Table
from udfs.micro_batch import MESSAGE, Answered

_ATTEMPTS = 5


@dataclass(frozen=True)
class StreamTarget:
    """A target table and its dead letters `<target>_errors`, written once for each micro-batch.

    Rows named by their coordinates are new by themselves and are appended without a look at the
    target. Rows with a key of their own replace the row of their key (`merge`), or are left out
    where the target has it (`append`).
    """

    table: Table
    key: tuple[str, ...]
    mode: str
    checkpoint: Checkpoint

    @classmethod
    def of(cls, settings: StreamSettings, checkpoint: Checkpoint) -> "StreamTarget":
        """Return the target of a stream's settings."""
        if settings.target.mode == "overwrite":
            raise SettingsError("target.mode: a stream adds rows; expected append or merge")
        key = settings.source.key or COORDINATES
        return cls(Table.named(settings.target.table), key, settings.target.mode, checkpoint)

    @property
    def errors(self) -> Table:
        """The dead-letter table."""
        return self.table.beside("_errors")

    @property
    def metrics(self) -> Table:
        """The table of micro-batches' numbers."""
        return self.table.beside("_metrics")

    @property
    def is_named_by_place(self) -> bool:
        """Whether rows are named by topic, partition and offset."""
        return self.key == COORDINATES

    def one_a_key(self, rows: DataFrame) -> DataFrame:
        """Return one of a micro-batch's rows for each key: the last for merge, else the first.

        A row without a key (a tombstone, a message that cannot be read) is kept.
        """
        if self.is_named_by_place:
            return rows
        places = [it for it in COORDINATES if it in rows.columns] or [MESSAGE]
        order = [F.desc(it) if self.mode == "merge" else F.asc(it) for it in places]
        has_key = F.concat(*(F.col(it).isNotNull().cast("string") for it in self.key))
        alone = F.when(has_key.contains("false"), F.struct(*places))
        window = Window.partitionBy(*self.key, alone).orderBy(*order)
        return (
            rows.withColumn("_rank", F.row_number().over(window)).where("_rank = 1").drop("_rank")
        )

    def write(self, answered: Answered, number: int) -> bool:
        """Write a micro-batch; return False where Delta had it already and skipped it.

        1. The target: readers see it whole. 2. The dead letters. A crash in between is mended when
        the micro-batch comes again: what has landed is skipped.
        """
        keyless = ~_has_key(self.key)
        dead = is_dead() | keyless
        counts = answered.counts
        landed = self._add(answered.rows.where(~dead).drop("raw", MESSAGE), number)
        if counts.errors or (counts.skipped and not self.is_named_by_place):
            letters = answered.rows.where(dead)
            letters = letters.withColumn("result", F.lit(None).cast("string"))
            commit = self._commit(self.errors, "errors", number, letters)
            self._retried(lambda: self.errors.append(letters, commit()))
        return landed

    def _add(self, rows: DataFrame, number: int) -> bool:
        spark = rows.sparkSession
        commit = self._commit(self.table, "target", number, rows)
        by_key = self.checkpoint.beside_others or not self.is_named_by_place
        if not by_key:
            return self._retried(lambda: self.table.append(rows, commit()))
        if self.mode == "merge" and not self.is_named_by_place:
            return self._retried(lambda: self.table.merge(rows, self.key, commit()))
        if self.table.exists(spark):
            there = self.table.read(spark).select(*self.key)
            rows = rows.join(there, list(self.key), "left_anti")
        return self._retried(lambda: self.table.append(rows, commit()))

    def _commit(
        self, table: Table, name: str, number: int, rows: DataFrame
    ) -> Callable[[], Numbered]:
        """Return what makes a fresh attempt at a commit."""
        app = f"stream/{self.checkpoint.generation}/{name}"
        metadata: dict[str, Any] = {GENERATION: self.checkpoint.generation, "batch": number}
        return lambda: Numbered(app, number, table.version(rows.sparkSession), metadata)

    def _retried(self, write: Callable[[], int]) -> bool:
        """Write again after a conflict with OPTIMIZE, MERGE or ALTER; no call is made anew."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return write() > 0
            except DeltaConcurrentModificationException as conflict:
                if attempt == _ATTEMPTS:
                    raise JobError(
                        f"target {self.table.name}: others commit to it all the time: {conflict}"
                    ) from conflict
        raise AssertionError("a write returns or raises")


def send_answers(rows: DataFrame, key: tuple[str, ...], output: OutputSettings) -> None:
    """Send the answers of a micro-batch to a topic: `result` as text under the row's key.

    At least once each: a micro-batch that comes again is sent again, under the same fingerprints.
    """
    answers = rows.where("error is null")
    (
        answers.select(
            F.concat_ws("/", *(F.col(name).cast("string") for name in key)).alias("key"),
            F.to_json(F.struct("result", "fingerprint", "model", "template", SOURCE)).alias(
                "value"
            ),
        )
        .write.format("kafka")
        .option("kafka.bootstrap.servers", output.bootstrap)
        .option("topic", output.topic)
        .options(**kafka_options(output.options))
        .save()
    )


def check_key(key: tuple[str, ...], columns: list[str]) -> None:
    """Raise TableError where the key's columns are not among a source's."""
    missing = [name for name in key if name not in columns]
    if missing:
        raise TableError(f"source.key: no columns {missing} in the source; it has {columns}")


def _has_key(key: tuple[str, ...]) -> Any:
    condition = F.lit(True)
    for name in key:
        condition = condition & F.col(name).isNotNull()
    return condition

"""Where a micro-batch ends: target, dead letters and output topic, each commit landing once."""

from collections.abc import Sequence
from functools import cached_property

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import TableError, Undecodable
from jobs.changes import first_of_each, has_column
from jobs.checkpoint import GENERATION, Checkpoint, last_written
from jobs.fitting import check_characters, check_types
from jobs.stream_settings import COORDINATES, OutputSettings, StreamSettings
from jobs.stream_source import SOURCE, kafka_options
from jobs.targets import is_dead
from udfs.commits import Told
from udfs.conflicts import past_conflicts
from udfs.delta import Table, in_few_files
from udfs.micro_batch import Answered
from udfs.slices import Slice, nothing
from udfs.straight_columns import MESSAGE, TIME
from udfs.work import PART_ERROR, Work, error_column

# Delta's own 10 would stop a stream every ten micro-batches for as long as one of them takes.
TABLE_PROPERTIES = {"delta.checkpointInterval": "100"}


class StreamTarget:
    """A target table and its dead letters `<target>_errors`, written once for each micro-batch.

    Rows named by their coordinates are new by themselves and are appended without a look at the
    target. Rows with a key of their own replace the row of their key (`merge`), or are left out
    where the target has it (`append`).

    Each commit tells its micro-batch in the table's history, which is read at the start and
    whenever another writer has been there. Delta's own guard (`txnVersion`) would read the whole
    state of the table at each commit, which takes as long as the commit itself.
    """

    def __init__(
        self, table: Table, key: tuple[str, ...], mode: str, checkpoint: Checkpoint
    ) -> None:
        self.table, self.key, self.mode, self.checkpoint = table, key, mode, checkpoint
        self._written, self._version = checkpoint.written, checkpoint.version

    @classmethod
    def of(cls, settings: StreamSettings, checkpoint: Checkpoint) -> "StreamTarget":
        """Return the target of a stream's settings."""
        table, key = Table.named(settings.target.table), settings.source.key or COORDINATES
        return cls(table, key, settings.target.mode, checkpoint)

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

    @cached_property
    def _dead(self) -> Column:
        """The condition that a row is a dead letter: no answer, or no key to stand under."""
        return is_dead() | ~has_key(self.key)

    @cached_property
    def _error(self) -> Column:
        """Why a row is none: what its source says, or that it has no key to stand under."""
        no_key = error_column(Undecodable(f"expected a value in each of {list(self.key)}"))
        return F.coalesce(PART_ERROR, F.when(~has_key(self.key), no_key))

    def one_a_key(self, rows: DataFrame) -> DataFrame:
        """Return one of a micro-batch's rows for each key: the last for merge, else the first.

        In a partition of Kafka its order counts, which no clock of a producer changes. Where a key
        lies in several, Kafka's time of what each of them gives, then the partition.
        A row without a key (a tombstone, a message that cannot be read) is kept.
        """
        if self.is_named_by_place:
            return rows
        places = _places(rows)
        alone = F.when(~has_key(self.key), F.struct(*places))
        *partition, offset = places
        rows = rows.repartition(*self.key)  # else each window would shuffle
        if partition:
            rows = self._first(rows, [*self.key, alone, *partition], [offset])
        of_several = [TIME, *partition] if partition else places
        rows = self._first(rows, [*self.key, alone], of_several)
        return rows.withColumn(PART_ERROR, self._error)

    def _first(
        self, rows: DataFrame, group: Sequence[Column | str], by: Sequence[str]
    ) -> DataFrame:
        """Return the row of each group that comes first by some columns; the last for merge."""
        order = F.desc if self.mode == "merge" else F.asc
        return first_of_each(rows, group, [order(it) for it in by])

    def begun(self, batch: int) -> Slice:
        """Return the last slice of a micro-batch that the target has."""
        return self._written if self._written.batch == batch else nothing(batch)

    def has(self, piece: Slice) -> bool:
        """Whether the target had a piece when its history was read last."""
        return piece.number <= self._written.number

    def those_of(self, rows: DataFrame) -> DataFrame:
        """Return the target's rows of a micro-batch, or of a slice of it, that is written."""
        named = [it for it in COORDINATES if it in rows.columns] or list(self.key)
        return self.table.read(rows.sparkSession).join(rows.select(*named), named, "left_semi")

    def take_back(self, rows: DataFrame, piece: Slice) -> None:
        """Delete the dead letters that a run left which was killed before the target's commit.

        By now other rows may fail. `rows` are those of the source.
        """
        if self._is_half_written(piece) and not self._has_now(rows.sparkSession, piece):
            past_conflicts(self.errors, lambda: self.errors.delete(rows, _places(rows)))

    def write(self, answered: Answered, piece: Slice) -> bool:
        """Write a micro-batch or a slice of it; return False where the target had it already.

        1. The dead letters. 2. The target: readers see it whole. After a crash in between the piece
        comes again, and the target tells that it lacks it; the other order would lose a row that
        had failed and is answered by then.
        """
        rows, counts = answered.rows, answered.counts
        if self._has_now(rows.sparkSession, piece):
            return False
        rows = in_few_files(rows, counts.rows)
        has_dead = bool(counts.errors or (counts.skipped and not self.is_named_by_place))
        if has_dead:
            letters = rows.where(self._dead).withColumn("result", F.lit(None).cast("string"))
            past_conflicts(self.errors, lambda: self._add_letters(letters, piece))
        good = rows.where(~self._dead) if has_dead else rows
        self._add(good.drop("raw", MESSAGE), piece)
        return True

    def _has_now(self, spark: SparkSession, piece: Slice) -> bool:
        """Whether the target has a piece; its history is read where another writer was there."""
        version = self.table.version(spark)
        if version != self._version:
            self._written = last_written(spark, self.table, self.checkpoint.generation)
            self._version = version
        return self.has(piece)

    def _is_half_written(self, piece: Slice) -> bool:
        return piece.batch == self.checkpoint.half_written

    def _add_letters(self, letters: DataFrame, piece: Slice) -> None:
        self.errors.append(letters, self._told(piece), TABLE_PROPERTIES)

    def _add(self, rows: DataFrame, piece: Slice) -> None:
        past_conflicts(self.table, lambda: self._commit(rows, piece))
        # Where others committed meanwhile it is another one, and the history is read next time.
        self._written, self._version = piece, self._version + 1

    def _told(self, piece: Slice) -> Told:
        return Told({GENERATION: self.checkpoint.generation} | piece.told())

    def _commit(self, rows: DataFrame, piece: Slice) -> None:
        commit = self._told(piece)
        # A replay may have moved dead letters to the target before they could be taken back.
        beside = self.checkpoint.beside_others or self._is_half_written(piece)
        if self.is_named_by_place and not beside:
            self.table.append(rows, commit, TABLE_PROPERTIES)
        elif self.mode == "merge" and not self.is_named_by_place:
            self.table.merge(rows, self.key, commit, TABLE_PROPERTIES)
        else:
            self.table.append(self.table.lacks(rows, self.key), commit, TABLE_PROPERTIES)


def check_target(settings: StreamSettings, work: Work, rows: DataFrame) -> None:
    """Raise TableError where target or dead letters cannot hold what the stream would write.

    `rows` are decoded ones.
    """
    spark, target = rows.sparkSession, Table.named(settings.target.table)
    for table, result in ((target, work.result_type), (target.beside("_errors"), T.StringType())):
        check_characters(spark, table, (*work.key, *work.keep))
        if table.version(spark) >= 0:
            there = table.read(spark)
            check_types(table.name, there, work, rows, result)
            if table is target:
                _check_key(table.name, there, work)


def _check_key(name: str, there: DataFrame, work: Work) -> None:
    missing = sorted(it for it in work.key if not has_column(there, it))
    if missing and (work.key != COORDINATES or not there.isEmpty()):
        raise TableError(
            f"target.table {name!r}: it lacks columns {missing} of source.key. Choose another "
            "table, or add them"
        )


def send_answers(rows: DataFrame, key: tuple[str, ...], output: OutputSettings) -> None:
    """Send the answers of a micro-batch to a topic: `result` as text under the row's key.

    At least once each: a micro-batch that comes again is sent again, under the same fingerprints.
    """
    named = F.concat_ws("/", *(F.col(name).cast("string") for name in key)).alias("key")
    answer = F.to_json(F.struct("result", "fingerprint", "model", "template", SOURCE))
    (
        rows.where("error is null")
        .select(named, answer.alias("value"))
        .write.format("kafka")
        .option("kafka.bootstrap.servers", output.bootstrap)
        .option("topic", output.topic)
        .options(**kafka_options(output.options))
        .save()
    )


def _places(rows: DataFrame) -> list[str]:
    """Return the columns that tell a message from others: of a table it has no place but itself."""
    return [it for it in COORDINATES if it in rows.columns] or [MESSAGE]


def has_key(key: tuple[str, ...]) -> Column:
    """Return the condition that a row has a value in each column of its key."""
    condition = F.lit(True)
    for name in key:
        condition = condition & F.col(name).isNotNull()
    return condition

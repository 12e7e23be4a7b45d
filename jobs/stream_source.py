"""The source of a stream: messages read, decoded, and what does not fit told apart."""

import re
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import EmptyInput, JobError, SettingsError, Undecodable
from chains.secrets import resolve_secret
from jobs.source import check_names, check_variables, type_of
from jobs.stream_settings import COORDINATES, TEXT_COLUMN, KafkaSettings, StreamSettings
from udfs.columns import ERROR_TYPE
from udfs.delta import Table
from udfs.straight_columns import MESSAGE
from udfs.work import FLOW, PART_ERROR, Work, error_column

SOURCE = "source"
_REFERENCES = ("env:", "file:", "secrets/")
_CORRUPT = f"{FLOW}corrupt"
_KEY = "kafka_key"
# By default JSON has milliseconds, and a replay would not find a row by its time.
_WHOLE_TIMES = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}
_ALL_FILES = 2**31 - 1
_BROKER = re.compile(r"(?:\w+://)?\[?([^\]]+)\]?:(\d+)")
_REACH_SECONDS = 5.0


@dataclass(frozen=True)
class StreamSource:
    """Rows as they come, and how a micro-batch of them is decoded.

    Decoded rows have their columns, MESSAGE (what came, in base64), PART_ERROR (why it is no row)
    and SOURCE (where it came from).
    """

    settings: StreamSettings

    def open(self, spark: SparkSession, whole: bool = False) -> DataFrame:
        """Return the stream; a micro-batch is what `max_rows_per_batch` says, or the `whole` rest.

        Raises TableError or JobError where there is no such source.
        """
        kafka = self.settings.source.kafka
        if kafka is not None:
            return _read_kafka(spark, kafka, None if whole else self.settings.max_rows_per_batch)
        table = Table.named(str(self.settings.source.table))
        table.read(spark)
        reader = spark.readStream.format("delta")
        if whole:
            reader = reader.option("maxFilesPerTrigger", _ALL_FILES)
        return reader.load(table.name) if table.is_path else reader.table(table.relation)

    def decode(self, rows: DataFrame, work: Work) -> DataFrame:
        """Return the rows of a micro-batch; one whose key is no text is none where work takes it.

        Keys are often no text where nobody reads them.
        """
        for columns in self._stages:
            rows = rows.select(*columns)
        of_kafka = self.settings.source.kafka is not None
        takes_key = _KEY in (*work.key, *work.columns.values())
        return _with_keys_of_text(rows, work) if of_kafka and takes_key else rows

    def check(self, decoded: DataFrame, work: Work) -> None:
        """Raise TableError where decoded rows have not the columns that the settings name."""
        name = self.settings.source.name
        check_variables(name, decoded, self.settings.source.columns, work.chain)
        for column in (*work.key, *work.keep):
            type_of(name, decoded, column)
        check_names(name, (it for it in (*work.key, *work.keep) if it != SOURCE))

    def again(self, dead_letters: DataFrame) -> DataFrame:
        """Return the rows that dead letters were, as the source gave them."""
        message = F.unbase64(MESSAGE)
        if self.settings.source.kafka is None:
            table = Table.named(str(self.settings.source.table))
            fields = table.read(dead_letters.sparkSession).schema
            row = F.from_json(message.cast("string"), fields).alias("row")
            return dead_letters.select(row).select("row.*")
        return dead_letters.select(
            message.alias("value"),
            F.encode(_KEY, "UTF-8").alias("key"),
            F.lit(None).cast("array<struct<key string, value binary>>").alias("headers"),
            *(
                F.col(f"kafka_{name}").alias(name)
                for name in ("topic", "partition", "offset", "timestamp")
            ),
        )

    @cached_property
    def _stages(self) -> list[list[Column]]:
        """What is selected, one list after the other; made once, for it takes a while."""
        kafka = self.settings.source.kafka
        if kafka is None:
            return [_of_table(str(self.settings.source.table))]
        return _of_text() if kafka.format == "text" else _of_json(_parse_fields(kafka))

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return self.settings.source.key or COORDINATES

    @property
    def places(self) -> list[Column]:
        """Columns that order the decoded rows: strings and numbers, never null.

        The place in the topic; of a table the key, and the row itself where it has none.
        """
        if self.settings.source.kafka is not None:
            return [F.col(name) for name in COORDINATES]
        key = [F.coalesce(F.col(name).cast("string"), F.lit("")) for name in self.key]
        without = F.concat(*(F.col(name).cast("string") for name in self.key)).isNull()
        return [*key, F.when(without, F.sha2(MESSAGE, 256)).otherwise("")]

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns that go to the target beside the key."""
        of_kafka = (*COORDINATES, "kafka_timestamp", "kafka_key")
        own = of_kafka if self.settings.source.kafka is not None else ()
        kept = (*own, *self.settings.target.keep, SOURCE, MESSAGE)
        return tuple(name for name in dict.fromkeys(kept) if name not in self.key)


def kafka_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the client's options, references to secrets resolved."""
    return {
        name: resolve_secret(value) if value.startswith(_REFERENCES) else value
        for name, value in options.items()
    }


def check_reachable(bootstrap: str) -> None:
    """Raise JobError where no broker takes a connection: Kafka's client would try for minutes."""
    failure: OSError | None = None
    for found in map(_BROKER.fullmatch, re.split(r"[,\s]+", bootstrap.strip())):
        if found is None:
            return  # Kafka says what is wrong with it
        try:
            with closing(socket.create_connection((found[1], int(found[2])), _REACH_SECONDS)):
                return
        except OSError as error:
            failure = error
    raise JobError(
        f"source.kafka.bootstrap {bootstrap!r}: no broker answers ({failure}); look at the address "
        "and at the network, and start the stream again"
    )


def _read_kafka(spark: SparkSession, kafka: KafkaSettings, rows: int | None) -> DataFrame:
    check_reachable(kafka.bootstrap)
    chosen = {"subscribe": kafka.topic} if kafka.topic else {"subscribePattern": kafka.pattern}
    options: dict[str, Any] = {
        "kafka.bootstrap.servers": kafka.bootstrap,
        "startingOffsets": kafka.starting,
        "failOnDataLoss": "true",
        "includeHeaders": "true",
        **({} if rows is None else {"maxOffsetsPerTrigger": rows}),
        **chosen,
        **kafka_options(kafka.options),
    }
    try:
        return spark.readStream.format("kafka").options(**options).load()
    except PySparkException as error:
        raise JobError(f"Kafka at {kafka.bootstrap}: {error}") from error


def _of_json(fields: T.StructType) -> list[list[Column]]:
    """Select the declared fields; a message that does not fit has none of them, and an error."""
    schema = T.StructType([*fields.fields, T.StructField(_CORRUPT, T.StringType())])
    text = F.col("value").cast("string")
    parsed = F.from_json(text, schema, {"columnNameOfCorruptRecord": _CORRUPT}).alias("row")
    declared = ", ".join(f"{it.name} {it.dataType.simpleString()}" for it in fields)
    fits = F.col("row").isNotNull() & F.col(f"row.{_CORRUPT}").isNull()
    error = _not_text().when(
        ~fits, error_column(Undecodable(f"expected a JSON object of {declared}"))
    )
    values = [F.when(error.isNull(), F.col(f"row.{it.name}")).alias(it.name) for it in fields]
    of_kafka = _of_kafka()
    taken = sorted(of_kafka.keys() & set(fields.names))
    if taken:
        raise SettingsError(f"source.kafka.schema: the stream has columns {taken} of its own")
    kept = [F.col(name) for name in of_kafka]
    return [
        [*of_kafka.values(), F.col("value"), parsed],
        [*kept, *values, error.alias(PART_ERROR)],
    ]


def _of_text() -> list[list[Column]]:
    error = _not_text()
    text = F.when(error.isNull(), F.col("value").cast("string")).alias(TEXT_COLUMN)
    return [[*_of_kafka().values(), text, error.alias(PART_ERROR)]]


def _not_text() -> Column:
    tombstone = error_column(EmptyInput("a tombstone: the message is null"))
    no_text = error_column(Undecodable("expected UTF-8, found other bytes"))
    is_text = F.is_valid_utf8(F.col("value").cast("string"))
    return F.when(F.col("value").isNull(), tombstone).when(~is_text, no_text)


def _with_keys_of_text(rows: DataFrame, work: Work) -> DataFrame:
    """Return the rows, each with an error whose key was no text; among names it is null then.

    U+FFFD tells, so that a dead letter's key does too. Keys that differ may look alike by it.
    """
    broken = F.coalesce(F.contains(_KEY, F.lit("\N{REPLACEMENT CHARACTER}")), F.lit(False))
    error = error_column(Undecodable("expected a key in UTF-8, found other bytes"))
    columns = {PART_ERROR: F.coalesce(PART_ERROR, F.when(broken, error))}
    if _KEY in work.key:
        columns[_KEY] = F.when(~broken, F.col(_KEY))
    return rows.withColumns(columns)


def _of_kafka() -> dict[str, Column]:
    """Return what Kafka says of a message, under names that fields rarely have.

    Key and headers arrive as text, bytes that are not UTF-8 as U+FFFD.
    """
    value = "make_valid_utf8(cast(h.value as string))"
    header = f"transform(headers, h -> struct(h.key as key, {value} as value))"
    columns = {
        **{f"kafka_{name}": F.col(name) for name in ("topic", "partition", "offset", "timestamp")},
        _KEY: F.make_valid_utf8(F.col("key").cast("string")),
        "kafka_headers": F.expr(header),
        SOURCE: F.format_string("%s[%d]@%d", "topic", "partition", "offset"),
        MESSAGE: F.base64("value"),
    }
    return {name: column.alias(name) for name, column in columns.items()}


def _of_table(table: str) -> list[Column]:
    whole = F.encode(F.to_json(F.struct("*"), _WHOLE_TIMES), "UTF-8")
    return [
        F.col("*"),
        F.lit(table).alias(SOURCE),
        F.base64(whole).alias(MESSAGE),
        F.lit(None).cast(ERROR_TYPE).alias(PART_ERROR),
    ]


def _parse_fields(kafka: KafkaSettings) -> T.StructType:
    try:
        return cast(T.StructType, T.StructType.fromDDL(str(kafka.fields)))
    except PySparkException as error:
        raise SettingsError(
            "source.kafka.schema: expected columns such as 'id string, amount double', found "
            f"{kafka.fields!r}"
        ) from error

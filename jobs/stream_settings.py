"""Settings of a stream: a Kafka topic or a Delta table as the source, and how it runs."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from jobs.settings import JobSettings, OneOrMore, Section

COORDINATES = ("kafka_topic", "kafka_partition", "kafka_offset")
TEXT_COLUMN = "value"


class KafkaSettings(Section):
    """A topic, or topics by a pattern; `options` go to Spark's Kafka client as they are.

    Values of `options` may be references to secrets. With `format: json`, `schema` declares the
    fields of a message; with `text` the message is the column `value`.
    """

    bootstrap: str
    topic: str | None = None
    pattern: str | None = None
    starting: str = "earliest"
    format: Literal["json", "text"] = "json"
    fields: str | None = Field(None, alias="schema")
    options: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> "KafkaSettings":
        if (self.topic is None) == (self.pattern is None):
            raise ValueError("expected either topic or pattern")
        if self.format == "json" and self.fields is None:
            raise ValueError("format json needs schema, such as 'id string, amount double'")
        return self


class StreamSourceSettings(Section):
    """The messages to complete: a topic, or the rows that a Delta table gains.

    `key` names a row; by default a message is named by topic, partition and offset. With a key of
    its own a message that comes twice is answered once.
    """

    kafka: KafkaSettings | None = None
    table: str | None = None
    key: OneOrMore = ()
    columns: dict[str, str] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the source: topic, pattern or table."""
        return str(self.table if self.kafka is None else self.kafka.topic or self.kafka.pattern)

    @model_validator(mode="after")
    def _whole(self) -> "StreamSourceSettings":
        if (self.kafka is None) == (self.table is None):
            raise ValueError("expected either kafka or table")
        if self.table is not None and not self.key:
            raise ValueError("a table needs key: the columns that name a row")
        return self


class OutputSettings(Section):
    """A topic that gets the answers too, at least once each."""

    bootstrap: str
    topic: str
    options: dict[str, str] = Field(default_factory=dict)


class StreamSettings(JobSettings):
    """All that a stream reads from its file.

    `checkpoint` holds how far it has come. `on_outage` says what happens when the model's endpoint
    fails for more than `outage_share` of what a micro-batch asks: stop, or wait and ask again.
    Up to two prompts in a row that the server fails or does not answer in time are no outage.
    A micro-batch of more than `max_tokens_per_batch` is answered and written in slices.
    """

    source: StreamSourceSettings
    checkpoint: str
    output: OutputSettings | None = None
    max_rows_per_batch: int = Field(10_000, ge=1)
    max_tokens_per_batch: int | None = Field(None, ge=1)
    on_outage: Literal["stop", "wait"] = "stop"
    outage_share: float = Field(0.5, gt=0, le=1)
    on_new_checkpoint: Literal["refuse", "continue"] = "refuse"

    @model_validator(mode="after")
    def _of_a_stream(self) -> "StreamSettings":
        if len(self.chain.model) > 1:
            found = f"expected one model for a stream, found {len(self.chain.model)}"
            raise PydanticCustomError("models", f"chain.model: {found}; a batch takes several")
        if self.target.mode == "overwrite":
            found = "a stream adds rows; expected append or merge"
            raise PydanticCustomError("mode", f"target.mode: {found}")
        if not self.ledger.reuse:
            found = "a stream asks what the ledger lacks; expected true"
            raise PydanticCustomError("reuse", f"ledger.reuse: {found}")
        return self

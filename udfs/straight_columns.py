"""The columns of a micro-batch, from its source to its journal and on to its target.

They are made once for a stream: making them takes longer than a small micro-batch's model does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import EmptyInput, error_codes
from udfs.columns import completion_type
from udfs.heads import HEX_DIGITS
from udfs.work import PART_ERROR, Work, key_json, typed_result, variable

MESSAGE = "raw_message"
TIME = "kafka_timestamp"
_COMPLETION = completion_type(T.StringType())


@dataclass(frozen=True)
class BatchCounts:
    """A micro-batch in numbers: `new` rows were paid for, `cached` ones cost nothing.

    `errors` are rows without an answer by code, `skipped` ones apart; `model_ms` is the sum of the
    calls' times; `newest` is the time of its newest row in seconds since 1970, where rows have one.
    """

    rows: int
    new: int
    cached: int
    skipped: int
    errors: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    model_ms: float
    newest: float | None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "BatchCounts":
        """Read what `StraightColumns.counted` counted."""
        errors = {it: found[it] for it in error_codes() if found[it] and it != EmptyInput.code}
        totals = {name: found[name] or 0 for name in ("input_tokens", "output_tokens", "model_ms")}
        rows = {name: found[name] for name in ("rows", "new", "cached")}
        skipped, newest = found[EmptyInput.code], found["newest"]
        return cls(skipped=skipped, errors=errors, newest=newest, **rows, **totals)


@dataclass(frozen=True)
class StraightColumns:
    """Lists to select, in their order.

    prepared: of the source: key, kept columns, variables, PART_ERROR; equal `variables` meet in one
    task. asked: the struct that the function takes, null where a row has a PART_ERROR; its
    completion is the column `given`. given: of
    that, what is held. typed: of that, what a target gets. counted: aggregates for `BatchCounts`;
    followed: those, and what the stream has to know.
    """

    prepared: list[Column]
    variables: list[str]
    asked: Column
    given: list[Column]
    typed: list[Column]
    counted: list[Column]
    followed: list[Column]

    @classmethod
    def of(cls, work: Work, source: DataFrame) -> "StraightColumns":
        """Make the columns for rows of this source."""
        of_row = [*work.key, *work.keep]
        names = [*of_row, *_COMPLETION.fieldNames()]
        typed = {"result": typed_result(work)}
        counted = _counted(work)
        return cls(
            prepared=work.prepared(source),
            variables=[variable(name) for name in work.chain.template.variables],
            asked=F.when(
                F.col(PART_ERROR).isNull(),
                F.struct(work.variables().alias("variables"), key_json(work.key).alias("key")),
            ),
            given=_given(work),
            typed=[typed.get(name, F.col(name)).alias(name) for name in names],
            counted=counted,
            followed=[*counted, *_followed()],
        )


def _given(work: Work) -> list[Column]:
    error, deferred = F.coalesce(PART_ERROR, "given.error"), F.col("given.deferred")
    given = {"error": error, "deferred": deferred & F.col(PART_ERROR).isNull()}
    needed = {MESSAGE: F.when(error.isNotNull() | deferred, F.col(MESSAGE))}
    of_row = [
        needed[name].alias(name) if name == MESSAGE else F.col(name)
        for name in (*work.key, *work.keep)
    ]
    names = [*_COMPLETION.fieldNames(), "deferred"]
    return [*of_row, *(given.get(it, F.col(f"given.{it}")).alias(it) for it in names)]


def _counted(work: Work) -> list[Column]:
    code = F.col("error.code")
    paid = _is_paid()
    newest = F.max(TIME) if TIME in work.keep else F.lit(None)
    sums = {"input_tokens": "input_tokens", "output_tokens": "output_tokens"}
    sums["model_ms"] = "latency_ms"
    return [
        newest.cast("double").alias("newest"),
        F.count("*").alias("rows"),
        F.count_if(paid).alias("new"),
        F.count_if("cached").alias("cached"),
        *(F.sum(F.when(paid, F.col(column))).alias(name) for name, column in sums.items()),
        *(F.count_if(code == it).alias(it) for it in error_codes()),
    ]


def _is_paid() -> Column:
    return F.col("fingerprint").isNotNull() & ~F.col("cached")


def _followed() -> list[Column]:
    paid = F.when(_is_paid(), F.left("fingerprint", F.lit(HEX_DIGITS)))
    looked_up = F.when(F.col("deferred"), F.col("fingerprint"))
    return [
        F.count_if("deferred").alias("deferred"),
        F.collect_list(paid).alias("fingerprints"),
        F.collect_list(looked_up).alias("looked_up"),
    ]

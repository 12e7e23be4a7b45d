"""The columns of a micro-batch, from its source to its journal and on to its target.

They are made once for a stream: making them takes longer than a small micro-batch's model does.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import EmptyInput
from udfs.columns import completion_type
from udfs.heads import HEX_DIGITS
from udfs.work import FLOW, PART_ERROR, Work, key_json, typed_result, variable

MESSAGE = "raw_message"
TIME = "kafka_timestamp"
GIVEN, DEFERRED = f"{FLOW}given", f"{FLOW}deferred"
_COMPLETION = completion_type(T.StringType())
_SUMMED = ("input_tokens", "output_tokens", "model_ms")


@dataclass(frozen=True)
class BatchCounts:
    """A micro-batch in numbers: `new` rows were paid for, `cached` ones cost nothing.

    `errors` are rows without an answer by code, `skipped` ones apart; `failed` counts of equal ones
    the one that was asked. `model_ms` is the sum of the calls' times; `newest` is the time of its
    newest row in seconds since 1970, where rows have one.
    """

    rows: int
    new: int
    cached: int
    skipped: int
    errors: Mapping[str, int]
    failed: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    model_ms: float
    newest: float | None

    @classmethod
    def of(cls, rows: pa.Table) -> "BatchCounts":
        """Count rows of `StraightColumns.counted`."""
        errors = Counter(rows["code"].drop_null().to_pylist())
        skipped = errors.pop(EmptyInput.code, 0)
        asked = rows.filter(pc.invert(pc.fill_null(rows["cached"], False)))
        totals = {it: pc.sum(rows[it]).as_py() or 0 for it in _SUMMED}
        return cls(
            rows=len(rows),
            new=pc.sum(rows["paid"]).as_py() or 0,
            cached=pc.sum(rows["cached"]).as_py() or 0,
            skipped=skipped,
            errors=dict(errors),
            failed=dict(Counter(asked["code"].drop_null().to_pylist())),
            newest=pc.max(rows["at"]).as_py(),
            **totals,
        )


@dataclass(frozen=True)
class StraightColumns:
    """Lists to select, in their order.

    prepared: of the source: key, kept columns, variables, PART_ERROR; equal `variables` meet in one
    task. asked: the struct that the function takes, null where a row has a PART_ERROR; its
    completion is the column GIVEN. given: of that, what is held, and whether it is DEFERRED. typed:
    of that, what a target gets. counted: what `BatchCounts` counts; followed: that, and what the
    stream has to know.
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
    error, deferred = F.coalesce(PART_ERROR, f"{GIVEN}.error"), F.col(f"{GIVEN}.deferred")
    told = {"error": error}
    needed = {MESSAGE: F.when(error.isNotNull() | deferred, F.col(MESSAGE))}
    of_row = [
        needed[name].alias(name) if name == MESSAGE else F.col(name)
        for name in (*work.key, *work.keep)
    ]
    return [
        *of_row,
        *(told.get(it, F.col(f"{GIVEN}.{it}")).alias(it) for it in _COMPLETION.fieldNames()),
        (deferred & F.col(PART_ERROR).isNull()).alias(DEFERRED),
    ]


def _counted(work: Work) -> list[Column]:
    paid = _is_paid()
    at = F.col(TIME) if TIME in work.keep else F.lit(None)
    sums = dict(zip(_SUMMED, ("input_tokens", "output_tokens", "latency_ms"), strict=True))
    return [
        F.col("error.code").alias("code"),
        paid.alias("paid"),
        F.col("cached").alias("cached"),
        *(F.when(paid, F.col(column)).alias(name) for name, column in sums.items()),
        at.cast("double").alias("at"),
    ]


def _is_paid() -> Column:
    return F.col("fingerprint").isNotNull() & ~F.col("cached")


def _followed() -> list[Column]:
    paid = F.when(_is_paid(), F.left("fingerprint", F.lit(HEX_DIGITS)))
    looked_up = F.when(F.col(DEFERRED), F.col("fingerprint"))
    return [
        F.coalesce(DEFERRED, F.lit(False)).alias("deferred"),
        paid.alias("paid_head"),
        looked_up.alias("looked_up"),
    ]

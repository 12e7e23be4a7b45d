"""A chain as Spark functions: a column, a SQL function, a DataFrame to DataFrame transform.

The functions are iterator Arrow UDFs (the Arrow-native form of the iterator pandas UDF): values
reach the template as they are in the table; pandas would make floats of an integer column that has
one null. Used by themselves they ask for every row each time Spark evaluates them, without ledger
and journal. The jobs (udfs/flow.py) put those around the same functions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from chains.base import Chain
from chains.models.base import ModelRef
from udfs.arrow import Answering, Asking, Pinned
from udfs.columns import QUESTION_TYPE, completion_type
from udfs.known import Known
from udfs.paying import COUNTED, Paying
from udfs.progress import Progress
from udfs.schema import result_type
from udfs.straight import Straight
from udfs.tokens import CountingTokens


def pin(chain: Chain, model: ModelRef) -> Pinned:
    """Pair a chain with a resolved model."""
    return Pinned(chain.spec(), model)


def question_udf(pinned: Pinned, count_tokens: bool = False) -> Callable[[Column], Column]:
    """Return the function from a struct of variables to its question: fingerprint or error.

    Asks no model. `count_tokens` adds the prompt's tokens by the model's own tokenizer.
    """
    asking = Asking(pinned, _arrow_type(QUESTION_TYPE), count_tokens)

    def ask(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return asking(batches)

    return _arrow_udf(ask, QUESTION_TYPE)


def completion_udf(pinned: Pinned) -> Callable[[Column], Column]:
    """Return the function from a struct of variables to the completion struct.

    Not deterministic, so that Spark neither merges nor repeats it.
    """
    kind = completion_type(result_type(pinned.chain.response_schema))
    answering = Answering(pinned, _arrow_type(kind))

    def complete(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return answering(batches)

    return _arrow_udf(complete, kind)


def tokens_udf(pinned: Pinned) -> Callable[[Column], Column]:
    """Return the function from a struct of variables to the tokens that its call may take."""
    counting = CountingTokens(pinned)

    def count(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return counting(batches)

    return _arrow_udf(count, T.LongType())


def pay(
    misses: DataFrame, pinned: Pinned, journal: str, run_id: str, progress: Progress | None
) -> dict[str, int]:
    """Ask for all rows of `variables` and `paid_by`; return what was counted, by name.

    Each answer is in the journal's folder before more are asked: see udfs/paying.py.
    """
    paying = Paying(pinned, journal, run_id, progress)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return paying(batches)

    counted: Counter[str] = Counter()
    for row in misses.mapInArrow(run, COUNTED).collect():
        counted[row["name"]] += row["number"]
    return counted


def straight_udf(
    pinned: Pinned, journal: str, comes_again: bool, run_id: str, known: Known
) -> Callable[[Column], Column]:
    """Return the function from a struct of `variables` and `key` to a completion, or `deferred`.

    The result is text; `deferred` is a field more (see udfs/straight.py).
    """
    deferred = T.StructField("deferred", T.BooleanType())
    kind = T.StructType([*completion_type(T.StringType()).fields, deferred])
    straight = Straight(pinned, _arrow_type(kind), journal, comes_again, run_id, known)

    def complete(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return straight(batches)

    return _arrow_udf(complete, kind)


def complete(
    chain: Chain, model: ModelRef, columns: Mapping[str, str] | None = None
) -> Callable[[DataFrame], DataFrame]:
    """Return a transform that adds the column `completion`: `df.transform(complete(chain, model))`.

    `columns` maps template variables to columns; a variable is its own column by default. Every
    evaluation asks the model again: there is no ledger here.
    """
    function = completion_udf(pin(chain, model))

    def transform(rows: DataFrame) -> DataFrame:
        return rows.withColumn("completion", function(variables_struct(chain, columns or {})))

    return transform


def register(spark: SparkSession, chain: Chain, model: ModelRef, name: str | None = None) -> None:
    """Make a chain a SQL function of its template's variables, in their order.

    `SELECT summarize(body).result FROM reports`. Every evaluation asks the model again.
    """
    names = list(chain.template.variables)
    pinned = pin(chain, model)
    kind = completion_type(result_type(pinned.chain.response_schema))
    answering = Answering(pinned, _arrow_type(kind))

    def complete_one(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return answering(pa.StructArray.from_arrays([it], names) for it in batches)

    def complete_many(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        return answering(pa.StructArray.from_arrays(list(it), names) for it in batches)

    function = complete_one if len(names) == 1 else complete_many
    spark.udf.register(name or chain.name, cast(Any, _arrow_udf(function, kind)))


def variables_struct(chain: Chain, columns: Mapping[str, str]) -> Column:
    """Return the struct that the functions take.

    Strings arrive valid (bytes that are not UTF-8 become U+FFFD) and at most one character above
    the chain's limit, so that no giant cell ever reaches Python.
    """
    fields = []
    for name, kind in chain.template.variables.items():
        value = F.col(columns.get(name, name))
        if kind == "string":
            value = F.make_valid_utf8(_at_most(value, chain.max_input_chars + 1))
        fields.append(value.alias(name))
    return F.struct(*fields)


def _at_most(text: Column, chars: int) -> Column:
    """Cut a text; most are short even in bytes, and bytes need no counting."""
    return F.when(F.octet_length(text) <= chars, text).otherwise(F.left(text, F.lit(chars)))


def _arrow_type(kind: T.DataType) -> pa.DataType:
    return to_arrow_type(kind, timezone="UTC")


def _arrow_udf(function: Callable[..., Any], kind: T.DataType) -> Callable[..., Column]:
    udf = F.arrow_udf(function, kind)  # type: ignore[attr-defined]
    return cast(Callable[..., Column], udf.asNondeterministic())

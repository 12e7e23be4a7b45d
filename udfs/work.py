"""What a job does with each row, and the columns that a row gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.base import Chain
from chains.errors import CompletionError, Pending
from chains.models.base import ModelRef
from udfs.arrow import Pinned
from udfs.columns import ERROR_TYPE, completion_type
from udfs.completion import variables_struct
from udfs.schema import check_names, result_type

PART_ERROR = "_part_error"
FLOW = "_flow_"
"""With it begins every column that a flow puts beside a row's key and kept columns."""


@dataclass(frozen=True)
class Work:
    """What to do with each source row: `key` names it, `columns` feeds the chain's variables.

    `keep` are further source columns that go to the target. `reuse` is whether the ledger answers.
    `source` is what rows and messages call the source: table@version. A row whose error has one of
    the codes `next_model_on` goes on to the first of `next_models`, and so on; their chains have
    the same variables and schema. Raises SettingsError where no column can hold the result, which
    would come to light only when every row is paid for.
    """

    pinned: Pinned
    key: tuple[str, ...]
    columns: Mapping[str, str]
    keep: tuple[str, ...] = ()
    reuse: bool = True
    source: str = "source"
    next_models: tuple[Pinned, ...] = ()
    next_model_on: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_names(self.result_type)

    @cached_property
    def result_type(self) -> T.DataType:
        """The type of the column `result`."""
        return result_type(self.pinned.chain.response_schema)

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """The models in their order."""
        return tuple(it.model for it in (self.pinned, *self.next_models))

    def with_each(self, change: Callable[[Pinned], Pinned]) -> "Work":
        """Return the work with the chain and model of each turn changed."""
        first, *others = map(change, (self.pinned, *self.next_models))
        return replace(self, pinned=first, next_models=tuple(others))

    def in_turn(self) -> "list[Work]":
        """Return the work of each model, in their order; behind the last one no row goes on."""
        first = replace(self, next_models=())
        *others, last = [replace(first, pinned=it) for it in (self.pinned, *self.next_models)]
        return [*others, replace(last, next_model_on=frozenset())]

    @cached_property
    def chain(self) -> Chain:
        """The chain itself, for the driver."""
        return Chain.from_spec(self.pinned.chain)

    def prepare(self, source: DataFrame) -> DataFrame:
        """Return key, kept columns, a column for each variable (see `variable`), and PART_ERROR."""
        return source.select(*self.prepared(source))

    def prepared(self, source: DataFrame) -> list[Column]:
        """Return what `prepare` selects.

        A row that brings a PART_ERROR along is not asked, and gets that error.
        """
        values = [
            _value(source, self.columns.get(name, name), kind).alias(variable(name))
            for name, kind in self.chain.template.variables.items()
        ]
        there = PART_ERROR in source.columns
        error = F.col(PART_ERROR) if there else F.lit(None).cast(ERROR_TYPE).alias(PART_ERROR)
        return [*(F.col(name) for name in (*self.key, *self.keep)), *values, error]

    def variables(self) -> Column:
        """Return the struct of prepared rows' variables that the functions take."""
        columns = {name: variable(name) for name in self.chain.template.variables}
        return variables_struct(self.chain, columns)


def _value(source: DataFrame, column: str, kind: str) -> Column:
    """Return a variable's column; text for one of any kind is made valid, for Python to read it.

    That of string variables `variables_struct` makes so.
    """
    value = F.col(column)
    if kind == "any" and isinstance(source.select(value).schema[0].dataType, T.StringType):
        return F.make_valid_utf8(value)
    return value


def variable(name: str) -> str:
    """Return the column of a template variable in prepared rows."""
    return f"_variable_{name}"


def completed(
    questions: DataFrame, answers: DataFrame, work: Work, run_id: str, typed: bool = True
) -> DataFrame:
    """Return key, kept columns and completion columns, a row for each question.

    `questions` have a fingerprint or an error, `answers` are at most one a fingerprint. With
    `typed`, `result` has the type of the response schema, otherwise it is text.
    """
    of_row = [*work.key, *work.keep]
    asked = questions.select(*of_row, "fingerprint", F.col("error").alias("_flow_unasked"))
    joined = asked.join(answers, "fingerprint", "left")
    return joined.select(*of_row, *_completion(work, run_id, typed))


def typed_result(work: Work) -> Column:
    """Return the column `result` in the type of the response schema."""
    text, kind = F.col("result"), work.result_type
    if isinstance(kind, T.StructType | T.ArrayType | T.MapType):
        return F.from_json(text, kind.json())
    return text.try_cast(kind)


def error_column(error: CompletionError) -> Column:
    """Return an error as a column."""
    return F.struct(
        F.lit(error.code).alias("code"),
        F.lit(error.told).alias("message"),
        F.lit(error.retryable).alias("retryable"),
    )


def key_json(key: tuple[str, ...]) -> Column:
    """Return a row's key as the ledger keeps it."""
    return F.to_json(F.struct(*key))


def _completion(work: Work, run_id: str, typed: bool) -> list[Column]:
    """Return the completion's columns for a question joined with its answer, if it has one."""
    ours = (F.col("run_id") == run_id) & (F.col("paid_by") == key_json(work.key))
    answered = F.col("run_id").isNotNull()
    not_asked = F.when(~answered, error_column(Pending("not asked in this run")))
    given = {
        "result": typed_result(work) if typed else F.col("result"),
        "error": F.coalesce("_flow_unasked", "error", not_asked),
        "cached": answered & ~ours,
        "chain": F.coalesce("chain", F.lit(work.chain.ref)),
        "template": F.coalesce("template", F.lit(work.chain.template.ref)),
        "model": F.coalesce("model", F.lit(work.pinned.model.name)),
        "run_id": F.coalesce("run_id", F.lit(run_id)),
        "completed_at": F.coalesce("completed_at", F.current_timestamp()),
        "flags": F.coalesce("flags", F.array().cast("array<string>")),
    }
    names = completion_type(T.StringType()).fieldNames()
    return [given.get(name, F.col(name)).alias(name) for name in names]

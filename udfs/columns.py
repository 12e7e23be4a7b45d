"""The types of the columns that the functions give."""

from pyspark.sql import types as T

ERROR_TYPE = T.StructType(
    [
        T.StructField("code", T.StringType()),
        T.StructField("message", T.StringType()),
        T.StructField("retryable", T.BooleanType()),
    ]
)
QUESTION_TYPE = T.StructType(
    [
        T.StructField("fingerprint", T.StringType()),
        T.StructField("error", ERROR_TYPE),
        T.StructField("parts", T.ArrayType(T.StringType())),
        T.StructField("input_tokens", T.LongType()),
    ]
)


def completion_type(result: T.DataType) -> T.StructType:
    """Return the completion struct of docs/architecture.md with the given type of result."""
    return T.StructType(
        [
            T.StructField("result", result),
            T.StructField("error", ERROR_TYPE),
            T.StructField("finish_reason", T.StringType()),
            T.StructField("input_tokens", T.LongType()),
            T.StructField("output_tokens", T.LongType()),
            T.StructField("latency_ms", T.DoubleType()),
            T.StructField("cached", T.BooleanType()),
            T.StructField("chain", T.StringType()),
            T.StructField("template", T.StringType()),
            T.StructField("model", T.StringType()),
            T.StructField("fingerprint", T.StringType()),
            T.StructField("run_id", T.StringType()),
            T.StructField("completed_at", T.TimestampType()),
            T.StructField("flags", T.ArrayType(T.StringType())),
            T.StructField("raw", T.StringType()),
        ]
    )


def ledger_type() -> T.StructType:
    """Return the ledger's columns: the completion struct with its result as text, and who paid.

    `paid_by` is the key of the source row whose call it was, as JSON.
    """
    kept = [f for f in completion_type(T.StringType()).fields if f.name != "cached"]
    return T.StructType([*kept, T.StructField("paid_by", T.StringType())])

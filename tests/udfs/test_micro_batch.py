"""A micro-batch on its short way: what executors lose is not paid for twice."""

import pytest

from chains import load_chain, resolve_model
from udfs.completion import pin
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.micro_batch import MicroBatches
from udfs.slices import Slice
from udfs.work import Work

pytestmark = pytest.mark.spark

ROWS = 20


def test_rows_that_are_computed_again_come_from_the_journal(spark, tmp_path):
    """As the rows of an executor that is lost, and of a task that is tried again."""
    from local_models import NOTES

    NOTES.unlink(missing_ok=True)
    ledger = Ledger(Table(f"{tmp_path}/ledger"))
    ledger.open(spark)
    work = Work(
        pin(load_chain("summarize"), resolve_model("python:local_models:Counted")), ("id",), {}
    )
    source = spark.range(ROWS).selectExpr("cast(id as string) id", "concat('row ', id) document")
    with (
        MicroBatches(spark, ledger, "stream") as batches,
        batches.answered(source, work, Slice(0), "run") as answered,
    ):
        spark.catalog.clearCache()
        found = {row["id"]: row["result"] for row in answered.rows.collect()}
    assert found == {str(i): f"ROW {i}" for i in range(ROWS)}
    assert NOTES.read_text().count("call") == ROWS

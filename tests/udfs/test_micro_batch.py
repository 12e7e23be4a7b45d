"""A micro-batch on its short way: what executors lose is not paid for twice."""

import pytest
from local_models import GATE, NOTES

from chains import load_chain, resolve_model
from udfs.completion import pin, straight_udf
from udfs.delta import Table
from udfs.known import KnownFingerprints
from udfs.ledger import Ledger
from udfs.micro_batch import MicroBatches
from udfs.slices import Slice
from udfs.straight import first_time
from udfs.straight_columns import StraightColumns
from udfs.work import Work

pytestmark = pytest.mark.spark

ROWS = 20


@pytest.fixture
def ledger(spark, tmp_path):
    """Return an empty ledger."""
    opened = Ledger(Table(f"{tmp_path}/ledger"))
    opened.open(spark)
    return opened


def work_of(model):
    """Return work of a local model that notes its calls; none are noted yet."""
    NOTES.unlink(missing_ok=True)
    ref = resolve_model(f"python:local_models:{model}")
    return Work(pin(load_chain("summarize"), ref), ("id",), {})


def rows_of(ids):
    """Return rows to ask, named by numbers."""
    return ids.selectExpr("cast(id as string) id", "concat('row ', id) document")


def calls():
    """Return how many calls were noted."""
    return NOTES.read_text().count("call")


@pytest.mark.parametrize("tasks", [2, 1], ids=["in tasks as before", "in one task"])
def test_rows_that_are_computed_again_come_from_the_journal(spark, ledger, tasks):
    """As the rows of an executor that is lost: one task computes them where there are few."""
    source, work = rows_of(spark.range(ROWS)), work_of("Counted")
    with (
        MicroBatches(spark, ledger, "stream") as batches,
        batches.answered(source, work, Slice(0), "run") as answered,
    ):
        spark.catalog.clearCache()
        again = answered.rows.coalesce(tasks)
        found = {row["id"]: row["result"] for row in again.collect()}
    assert found == {str(i): f"ROW {i}" for i in range(ROWS)}
    assert calls() == ROWS


def test_rows_that_are_computed_again_keep_an_error_that_has_passed(spark, ledger):
    """The target was written without them: the dead letters must not be, too."""
    GATE.unlink(missing_ok=True)
    source, work = rows_of(spark.range(ROWS)), work_of("DownAtFirst")
    with (
        MicroBatches(spark, ledger, "stream") as batches,
        batches.answered(source, work, Slice(0), "run") as answered,
    ):
        GATE.touch()
        spark.catalog.clearCache()
        assert answered.rows.where("error.code = 'timeout'").count() == ROWS
    assert calls() == ROWS


def test_only_the_first_time_tasks_do_not_look_at_each_other_s_answers(spark, ledger):
    """Nobody has written any then, and reading what others are just writing would cost time."""
    work, known = work_of("Counted"), KnownFingerprints(spark, ledger).filter

    def answer(ids):
        source = rows_of(ids)
        columns = StraightColumns.of(work, source)
        folder = ledger.journal(spark).path_of("stream-0")
        ask = straight_udf(work.pinned, folder, False, "run", known)
        source.select(*columns.prepared).withColumn("given", ask(columns.asked)).collect()

    def first_task_answers(number):
        answer(spark.range(number, number + 1, numPartitions=1))

    with first_time(spark.sparkContext):
        answer(spark.range(0, 3, numPartitions=3))
        assert calls() == 3
        first_task_answers(1)
        assert calls() == 4
    first_task_answers(2)
    assert calls() == 4

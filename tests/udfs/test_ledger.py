"""The ledger: what it keeps, what it takes in, what it refuses."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Barrier, BrokenBarrierError

import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_type

from chains.errors import JobError, TableError
from udfs import lease
from udfs.columns import ledger_type
from udfs.delta import Table
from udfs.files import Place
from udfs.ledger import Ledger, newest
from udfs.storage import Folder
from udfs.task_journal import TaskJournal

pytestmark = pytest.mark.spark


@pytest.fixture
def ledger(spark, tmp_path):
    """Return an empty ledger."""
    opened = Ledger(Table(f"{tmp_path}/ledger"))
    opened.open(spark)
    return opened


def answers(spark, *rows):
    """Return completions of (fingerprint, result, error code, retryable)."""
    error = "CASE WHEN code IS NULL THEN NULL ELSE struct(code, 'm' AS message, retryable) END"
    frame = spark.createDataFrame(
        rows, "fingerprint string, result string, code string, retryable boolean"
    ).selectExpr(
        *("result", f"{error} AS error", "'stop' AS finish_reason", "1L AS input_tokens"),
        *("1L AS output_tokens", "1.0D AS latency_ms", "false AS cached", "'c@1' AS chain"),
        *("'t@1' AS template", "'m@1' AS model", "fingerprint", "'run' AS run_id"),
        *("now() AS completed_at", "array('') AS flags", "null::string AS raw"),
        "'{}' AS paid_by",
    )
    return frame.withColumn("flags", F.array().cast("array<string>"))


def journalled(ledger, spark, name, rows):
    """Write rows into a journal, as a task does."""
    schema = pa.schema(to_arrow_type(ledger_type(), timezone="UTC"))
    folder = Folder(ledger.journal(spark).path_of(name))
    journal = TaskJournal(folder, schema, task=0)
    journal.add([row.asDict(recursive=True) for row in rows.collect()])


def fingerprints(spark, ledger):
    """Return what the ledger has, sorted."""
    return sorted(row["fingerprint"] for row in ledger.table.read(spark).collect())


ROWS = [("a", "A", None, None), ("b", None, "refused", False), ("c", None, "timeout", True)]


def test_answers_and_lasting_errors_are_kept_passing_errors_are_not(spark, ledger):
    journalled(ledger, spark, "n", answers(spark, *ROWS))
    ledger.take(spark, "n")
    assert fingerprints(spark, ledger) == ["a", "b"]


def test_a_new_run_takes_in_what_a_dead_one_left_once(spark, ledger):
    with suppress(KeyboardInterrupt), ledger.journal(spark).alive("dead"):
        journalled(ledger, spark, "dead", answers(spark, *ROWS))
        raise KeyboardInterrupt
    for _ in range(2):
        ledger.open(spark)
    assert ledger.table.read(spark).count() == 2


def test_a_living_run_s_journal_is_left_alone(spark, ledger):
    journal = ledger.journal(spark)
    with journal.alive("living"):
        with journal.written("living"):
            journalled(ledger, spark, "living", answers(spark, *ROWS))
        ledger.open(spark)
        assert ledger.table.read(spark).count() == 0
    ledger.open(spark)
    assert ledger.table.read(spark).count() == 2


def test_a_run_that_was_taken_for_dead_says_so(spark, ledger):
    journal = ledger.journal(spark)
    with ExitStack() as run:
        run.enter_context(journal.written("slow"))
        journalled(ledger, spark, "slow", answers(spark, *ROWS))
        journal.told_taken("slow", ledger.take(spark, "slow"))
        with pytest.raises(JobError, match="took it for dead"):
            run.close()


@pytest.mark.parametrize("is_killed", [False, True], ids=["to its end", "until it is killed"])
def test_what_a_run_answers_after_it_was_taken_for_dead_is_taken_too(spark, ledger, is_killed):
    journal = ledger.journal(spark)
    with (
        suppress(JobError, KeyboardInterrupt),
        journal.alive("slow"),
        journal.written("slow"),
    ):
        journalled(ledger, spark, "slow", answers(spark, ("before", "B", None, None)))
        journal.told_taken("slow", ledger.take(spark, "slow"))
        journalled(ledger, spark, "slow", answers(spark, ("after", "A", None, None)))
        if is_killed:
            raise KeyboardInterrupt
    assert fingerprints(spark, ledger) == ["before"]
    for _ in range(2):
        ledger.open(spark)
        assert fingerprints(spark, ledger) == ["after", "before", "before"]


def test_what_a_run_answers_after_it_was_taken_for_dead_survives_its_kill(
    spark, ledger, monkeypatch
):
    """It belongs to another machine, which was cut off for a while, and dies without a word."""
    monkeypatch.setattr(lease, "SILENT_SECONDS", 1.5)
    journal = ledger.journal(spark)
    alive = Place(spark, f"{journal.path_of('slow')}/{lease.LEASE}")
    beat = json.dumps({"machine": "elsewhere", "pid": 1, "beats": 7, "since": "1"}).encode()
    for fingerprint in ("before", "after"):
        alive.replace(beat)
        journalled(ledger, spark, "slow", answers(spark, (fingerprint, "A", None, None)))
        for _ in range(2):
            ledger.open(spark)
    assert set(fingerprints(spark, ledger)) == {"before", "after"}
    version = ledger.table.version(spark)
    ledger.open(spark)
    assert ledger.table.version(spark) == version


def test_a_run_that_another_is_taking_for_dead_while_it_ends_brings_all_it_has(spark, ledger):
    journal = ledger.journal(spark)
    with journal.alive("slow"):
        with journal.written("slow"):
            journalled(ledger, spark, "slow", answers(spark, ("before", "B", None, None)))
            taken = ledger.take(spark, "slow")
            journalled(ledger, spark, "slow", answers(spark, ("after", "A", None, None)))
        journal.told_taken("slow", taken)
        ledger.take(spark, "slow")
    assert fingerprints(spark, ledger) == ["after", "before", "before"]


def test_of_a_retried_task_s_answers_one_counts(spark, ledger):
    """A speculative copy of a task may have paid for the same prompt."""
    for _ in range(2):
        journalled(ledger, spark, "n", answers(spark, *ROWS))
    assert ledger.journalled(spark, "n").count() == 3


def test_vacuum_leaves_the_journal(spark, ledger):
    journalled(ledger, spark, "n", answers(spark, *ROWS))
    spark.sql(f"VACUUM {ledger.table.relation} RETAIN 200 HOURS")
    assert ledger.journal(spark).read("n").count() == 3


def test_of_several_answers_the_newest_success_counts(spark):
    given = answers(spark, ("a", "old", None, None), ("a", None, "refused", False))
    later = answers(spark, ("a", "new", None, None)).withColumn(
        "completed_at", F.expr("now() + INTERVAL 1 HOUR")
    )
    assert [row["result"] for row in newest(given.union(later)).collect()] == ["new"]


def test_a_ledger_of_another_format_is_refused(spark, ledger):
    spark.sql(f"ALTER TABLE {ledger.table.relation} SET TBLPROPERTIES ('gristmill.format' = '99')")
    with pytest.raises(TableError, match="expected a ledger of format 1, found format 99"):
        ledger.open(spark)


def test_two_runs_may_make_a_ledger_at_the_same_time(spark, tmp_path):
    """Both have looked before either has made it."""
    both = Barrier(2)

    class Seen(Ledger):
        def _create(self, spark):
            with suppress(BrokenBarrierError):
                both.wait(30)
                both.abort()
            super()._create(spark)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(Seen(Table(f"{tmp_path}/new")).open, spark) for _ in range(2)]
        assert [run.result(60) for run in runs] == [None, None]
    Ledger(Table(f"{tmp_path}/new")).open(spark)

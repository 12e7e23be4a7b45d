"""Long inputs, and which process loads what."""

from itertools import groupby

import pytest
from small_chain import chain_of

from chains import load_chain, load_model, resolve_model
from chains.models.endpoint.settings import resolve_endpoint
from udfs import flow
from udfs.completion import pin
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.work import Work

pytestmark = pytest.mark.spark

SUMMARIZE = load_chain("summarize")


@pytest.fixture
def ledger(spark, tmp_path):
    """Return an empty ledger."""
    opened = Ledger(Table(f"{tmp_path}/ledger"))
    opened.open(spark)
    return opened


@pytest.fixture
def notes(spark, monkeypatch):
    """Return what `local_models` noted since the test began, as text."""
    from local_models import NOTES

    NOTES.unlink(missing_ok=True)
    return lambda: NOTES.read_text() if NOTES.exists() else ""


def work(model, **changes):
    return Work(pin(SUMMARIZE, resolve_model(model)), ("id",), {"document": "document"}, **changes)


def words(count, start=0):
    return " ".join(f"w{i}" for i in range(start, start + count))


def test_a_long_input_is_asked_by_parts_then_as_one(spark, ledger):
    """30 words fit 400 - 256 tokens; 500 words are asked in parts, then the parts' answers."""
    chosen = work("python:local_models:SmallWindow")
    texts = {"short": words(20), "long": words(500), "twin": words(500)}
    source = spark.createDataFrame(list(texts.items()), "id string, document string")
    with flow.run(source, chosen, ledger, "run-1") as answered:
        rows = {row["id"]: row for row in answered.rows("run-1").collect()}
        paid = answered.paid.completed
    laptop = SUMMARIZE.complete(
        [{"document": it} for it in texts.values()], load_model(chosen.pinned.model)
    )
    assert [rows[name]["result"] for name in texts] == [it.result for it in laptop]
    assert [rows[name]["fingerprint"] for name in texts] == [it.fingerprint for it in laptop]
    with flow.run(source, chosen, ledger, "run-2") as again:
        assert (again.counts.misses, again.paid.completed) == (0, 0)
    assert paid == ledger.table.read(spark).count()
    assert paid > 3


def test_a_plan_counts_the_parts_of_long_inputs(spark, ledger):
    source = spark.createDataFrame([("a", words(500)), ("b", "x")], "id string, document string")
    with flow.plan(source, work("python:local_models:SmallWindow"), ledger) as planned:
        counts = planned.counts
    assert (counts.rows, counts.long, counts.misses) == (2, 1, 1)
    assert counts.parts >= 4


def test_each_worker_loads_a_model_once_for_all_its_partitions(spark, ledger, notes):
    """Workers are reused over tasks and jobs; the model itself notes its loads."""
    chosen = work("python:local_models:Counted")
    for run in range(2):
        source = spark.range(64, numPartitions=16).selectExpr(
            "cast(id as string) as id", f"concat('run {run} row ', id) as document"
        )
        with flow.run(source, chosen, ledger, f"run-{run}"):
            pass
    loads = [line.split()[0] for line in notes().splitlines() if line.endswith("load")]
    assert len(loads) == len(set(loads)) <= 2


def test_of_duplicates_one_is_asked(spark, ledger):
    source = spark.createDataFrame(
        [(str(i), f"text {i % 10}") for i in range(100)], "id string, document string"
    )
    with flow.run(source, work("python:local_models:Echo"), ledger, "run-1") as answered:
        assert (answered.counts.distinct, answered.paid.completed) == (10, 10)
        found = answered.rows("run-1")
        assert found.where("not cached").count() == 10
        assert found.count() == 100


@pytest.mark.parametrize("lengths", [[5] * 40, list(range(1, 41)), [1] * 39 + [4000]])
def test_misses_are_spread_over_tasks_whatever_their_lengths(spark, ledger, lengths):
    source = spark.createDataFrame(
        [(str(i), f"{i} " + "x" * n) for i, n in enumerate(lengths)], "id string, document string"
    )
    with flow.plan(source, work("python:local_models:Echo"), ledger) as planned:
        sizes = [len(it) for it in planned.passes[0]._misses().rdd.glom().collect()]
    assert sum(sizes) == 40
    assert sum(size > 0 for size in sizes) >= 2


def test_rows_that_a_server_answers_lie_in_few_equal_tasks_of_all_lengths(spark, ledger):
    """A task's last answers leave slots empty, and cores that end together leave the fewest."""
    server = resolve_endpoint("endpoint:e/m", "e", "m", {"base_url": "http://127.0.0.1:1/v1"})
    source = spark.createDataFrame(
        [(str(i), f"{i} " + "x" * i) for i in range(200)], "id string, document string"
    )
    asked = Work(pin(SUMMARIZE, server), ("id",), {})
    with flow.plan(source, asked, ledger) as planned:
        tasks = planned.passes[0]._misses().select("_flow_length").rdd.glom().collect()
    lengths = [[row[0] for row in task] for task in tasks]
    assert [len(it) for it in lengths] == pytest.approx([50] * 4, abs=2)
    assert all(it == sorted(it, reverse=True) for it in lengths)
    assert all(it[0] > 150 and it[-1] < 50 for it in lengths)


QUESTIONS = chain_of("{{ document }}\n{{ question }}", "{question: string, document: string}")


def test_misses_that_begin_alike_are_neighbours_in_a_task(spark, ledger):
    asked = Work(pin(QUESTIONS, resolve_model("python:local_models:Echo")), ("id",), {})
    texts = [words(30, start=n) for n in range(12)]
    rows = [(f"{q}-{n}", f"who {q}?" * q, texts[n]) for q in range(1, 9) for n in range(12)]
    source = spark.createDataFrame(rows, "id string, question string, document string")
    with flow.plan(source, asked, ledger) as planned:
        counts = planned.counts
        tasks = planned.passes[0]._misses().select("_variable_document").rdd.glom().collect()
    in_order = [row[0] for task in tasks for row in task]
    assert len(in_order) == len(rows)
    assert len([text for text, _ in groupby(in_order)]) <= len(texts) + len(tasks)
    assert max(map(len, tasks)) < 4 * len(rows) / len(tasks)
    repeated = sum(map(len, texts)) * 7
    assert counts.repeated_bytes == pytest.approx(repeated, rel=0.05)


def test_text_for_a_variable_of_any_kind_need_not_be_utf8(spark, ledger):
    chain = chain_of("{{ document }}", "{document: any}")
    chosen = Work(pin(chain, resolve_model("python:local_models:Echo")), ("id",), {})
    source = spark.sql("select 1 as id, cast(X'61ff62' as string) as document")
    with flow.run(source, chosen, ledger, "run-1") as answered:
        assert [row["result"] for row in answered.rows("run-1").collect()] == ["A\ufffdB"]

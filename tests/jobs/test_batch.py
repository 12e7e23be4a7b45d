"""The batch job on real tables, against the fake endpoint as the oracle of what is paid."""

import pytest
from deltalake import DeltaTable
from rounds import long

from chains.errors import JobError, TableError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch
from jobs.plan import run_plan
from udfs.commits import session_conf

pytestmark = pytest.mark.spark

SCHEMA = "id string, body string"


@pytest.fixture
def write(spark, tmp_path):
    """Return a function that writes rows as the job's source."""

    def write(rows, schema=SCHEMA, mode="overwrite"):
        frame = spark.createDataFrame(rows, schema)
        frame.write.format("delta").mode(mode).save(f"{tmp_path}/source")

    return write


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a table of the job with a reader that is not Spark."""

    def read(name):
        return DeltaTable(f"{tmp_path}/{name}").to_pyarrow_table().to_pylist()

    return read


def at(endpoint, *more):
    """Return the assignments of a job that asks an endpoint."""
    return (
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.attempts=1",
        *more,
    )


def documents(count, start=0):
    return [(f"r{i:03d}", f"key=r{i:03d} says {i}") for i in range(start, start + count)]


def test_every_row_has_its_own_answer_once(spark, job, write, read, endpoint):
    write([*documents(20), ("twin", "key=r003 says 3"), ("null", None), ("blank", " \n")])
    report = run_batch(spark, job(*at(endpoint)))
    rows = {row["id"]: row for row in read("target")}
    assert len(rows) == len(read("target")) == 23
    assert all(f"answer to {key}" in rows[key]["result"] for key, _ in documents(20))
    assert rows["twin"]["result"] == rows["r003"]["result"]
    assert {rows[key]["error"]["code"] for key in ("null", "blank")} == {"empty_input"}
    assert sorted(call.key for call in endpoint.calls()) == [key for key, _ in documents(20)]
    assert (report.rows, report.distinct, report.completed, report.skipped) == (23, 20, 20, 2)
    assert report.written == 23
    assert report.errors == {}


def test_of_equal_rows_one_is_charged(spark, job, write, read, endpoint):
    write([("a", "key=x same"), ("b", "key=x same")])
    run_batch(spark, job(*at(endpoint)))
    assert sorted(row["cached"] for row in read("target")) == [False, True]


def test_second_run_asks_nothing_and_commits_nothing(spark, job, write, read, endpoint, tmp_path):
    write([*documents(5), ("null", None)])
    run_batch(spark, job(*at(endpoint)))
    version, before = DeltaTable(f"{tmp_path}/target").version(), read("target")
    report = run_batch(spark, job(*at(endpoint)))
    assert len(endpoint.calls()) == 5
    assert (report.hits, report.misses, report.written) == (5, 0, 0)
    assert (DeltaTable(f"{tmp_path}/target").version(), read("target")) == (version, before)


def test_only_changed_rows_are_asked_and_merged(spark, job, write, read, endpoint):
    write(documents(5))
    run_batch(spark, job(*at(endpoint)))
    write([("r000", "key=r000 says more"), *documents(4, start=1), ("r005", "key=r005 new")])
    report = run_batch(spark, job(*at(endpoint)))
    assert (report.misses, report.written) == (2, 2)
    assert len(endpoint.calls()) == 7
    assert len(read("target")) == 6


def test_append_adds_only_rows_that_the_target_lacks(spark, job, write, read, endpoint):
    write(documents(3))
    run_batch(spark, job(*at(endpoint, "target.mode=append")))
    write(documents(2, start=3), mode="append")
    for _ in range(2):
        run_batch(spark, job(*at(endpoint, "target.mode=append")))
    assert sorted(row["id"] for row in read("target")) == [f"r{i:03d}" for i in range(5)]


@long
def test_overwrite_leaves_the_source_of_now(spark, job, write, read, endpoint):
    write(documents(3))
    run_batch(spark, job(*at(endpoint, "target.mode=overwrite")))
    write(documents(2, start=2))
    run_batch(spark, job(*at(endpoint, "target.mode=overwrite")))
    assert sorted(row["id"] for row in read("target")) == ["r002", "r003"]
    assert len(endpoint.calls()) == 4


def test_failed_rows_are_dead_letters_until_they_succeed(spark, job, write, read):
    write(documents(6))
    faults = {"r001": {"status": 400}, "r002": {"status": 500}}
    with FakeEndpoint(FakeSettings(faults=faults)) as endpoint:
        first = run_batch(spark, job(*at(endpoint)))
        assert first.errors == {"invalid_request": 1, "server_error": 1}
        assert {row["id"] for row in read("target_errors")} == {"r001", "r002"}
        assert {row["id"] for row in read("target")} == {"r000", "r003", "r004", "r005"}
        assert len(endpoint.calls()) == 6
    with FakeEndpoint() as endpoint:
        second = run_batch(spark, job(*at(endpoint)))
        assert [call.key for call in endpoint.calls()] == ["r002"]
    assert second.errors == {"invalid_request": 1}
    assert {row["id"] for row in read("target_errors")} == {"r001"}
    assert len(read("target")) == 5


def test_on_error_fail_writes_no_target_and_keeps_what_was_paid(spark, job, write, tmp_path):
    write(documents(4))
    with FakeEndpoint(FakeSettings(faults={"r001": {"status": 400}})) as endpoint:
        with pytest.raises(JobError, match="on_error is fail"):
            run_batch(spark, job(*at(endpoint, "on_error=fail")))
        assert not DeltaTable.is_deltatable(f"{tmp_path}/target")
        report = run_batch(spark, job(*at(endpoint)))
        assert len(endpoint.calls()) == 4
    assert (report.hits, report.written) == (4, 3)


def test_rejected_credential_leaves_rows_pending_for_the_next_run(spark, job, write, read):
    write(documents(30))
    assignments = ("endpoints.fake.concurrency=1",)
    with FakeEndpoint(FakeSettings(api_key="right")) as endpoint:
        report = run_batch(spark, job(*at(endpoint, *assignments)))
        assert report.errors == {"credential": 30}
        workers = 2
        assert len(endpoint.calls()) <= workers
    with FakeEndpoint() as endpoint:
        assert run_batch(spark, job(*at(endpoint))).completed == 30
    assert read("target_errors") == []


def test_a_model_that_is_not_there_leaves_rows_pending_for_the_next_run(spark, job, write, read):
    write([(f"r{i}", f"key=r{i}") for i in range(4)])
    with FakeEndpoint(FakeSettings(faults={"*": {"status": 404}})) as endpoint:
        report = run_batch(spark, job(*at(endpoint)))
        assert (report.errors, report.is_pending) == ({"not_found": 4}, True)
    with FakeEndpoint() as endpoint:
        assert not run_batch(spark, job(*at(endpoint))).is_pending
    assert len(read("target")) == 4


def test_a_row_that_was_empty_and_cannot_be_asked_now_is_a_dead_letter(
    spark, job, write, read, endpoint
):
    """Neither has a fingerprint."""
    few = at(endpoint, "chain.max_input_chars=10")
    write([("a", ""), ("b", "")])
    run_batch(spark, job(*few))
    write([("a", "longer than ten"), ("b", "")])
    report = run_batch(spark, job(*few))
    assert report.errors == {"input_too_large": 1}
    assert [row["id"] for row in read("target_errors")] == ["a"]


def test_a_target_whose_columns_cannot_hold_the_rows_is_refused_before_anything_is_paid(
    spark, job, write, endpoint, tmp_path
):
    """A merge would cast, and make 0 of 0.5."""
    write([("a", "key=a", 1)], "id string, body string, score int")
    run_batch(spark, job(*at(endpoint, "target.keep=[score]")))
    changed = spark.createDataFrame([("a", "key=b", 0.5)], "id string, body string, score double")
    changed.write.format("delta").save(f"{tmp_path}/changed")
    again = job(*at(endpoint, "target.keep=[score]", f"source.table={tmp_path}/changed"))
    for run in (run_plan, run_batch):
        with pytest.raises(TableError, match="score: int there, double now"):
            run(spark, again)
    assert len(endpoint.calls()) == 1


def test_a_column_that_no_target_can_be_made_with_is_refused_before_anything_is_paid(
    spark, job, endpoint, tmp_path
):
    rows = spark.createDataFrame([("a", "key=a", 1)], "id string, body string, `my page` int")
    mapped = {"delta.columnMapping.mode": "name", "delta.minReaderVersion": "2"}
    writer = rows.write.format("delta").options(**mapped, **{"delta.minWriterVersion": "5"})
    writer.save(f"{tmp_path}/source")
    with pytest.raises(TableError, match=r"'my page'.*columnMapping"):
        run_batch(spark, job(*at(endpoint, "target.keep=[my page]")))
    assert endpoint.calls() == []
    default = {"spark.databricks.delta.properties.defaults.columnMapping.mode": "name"}
    with session_conf(spark, default):
        assert run_batch(spark, job(*at(endpoint, "target.keep=[my page]"))).written == 1


def test_every_row_tells_what_it_is_made_of(spark, job, write, read, endpoint):
    write(documents(1))
    report = run_batch(spark, job(*at(endpoint)))
    (row,) = read("target")
    assert row["chain"] == row["template"] == "summarize@1"
    assert row["model"] == "fake/m"
    assert row["source"].endswith("source@0")
    assert row["run_id"] == report.run_id
    assert row["completed_at"].tzinfo is not None
    assert row["input_tokens"] > 0
    assert len(row["fingerprint"]) == 64


def test_changed_template_or_parameter_asks_again(spark, job, write, endpoint):
    write(documents(2))
    run_batch(spark, job(*at(endpoint)))
    for change in ("chain.template=summarize_few_shot", "chain.parameters.seed=1"):
        assert run_plan(spark, job(*at(endpoint, change))).misses == 2
    assert run_plan(spark, job(*at(endpoint))).misses == 0


@long
def test_reuse_false_asks_anew_and_the_target_still_has_each_row_once(
    spark, job, write, read, endpoint
):
    write(documents(3))
    run_batch(spark, job(*at(endpoint)))
    run_batch(spark, job(*at(endpoint, "ledger.reuse=false", "target.mode=overwrite")))
    assert len(endpoint.calls()) == 6
    assert len(read("target")) == 3


def test_plan_counts_and_spends_nothing(spark, job, write, endpoint, tmp_path):
    write([*documents(4), ("twin", "key=r003 says 3"), ("null", None)])
    planned = run_plan(spark, job(*at(endpoint)))
    assert (planned.rows, planned.distinct, planned.misses, planned.skipped) == (6, 4, 4, 1)
    assert planned.tokens["input"] > 0
    assert endpoint.calls() == []
    assert {it.name for it in tmp_path.iterdir()} == {"source", "job.yml"}


def test_kept_columns_go_along(spark, job, write, read, endpoint):
    write([("a", "key=a", 7)], "id string, body string, year int")
    run_batch(spark, job(*at(endpoint, "target.keep=[year, id]")))
    assert [(row["id"], row["year"]) for row in read("target")] == [("a", 7)]


def test_a_run_that_lost_the_race_says_so_and_doubles_nothing(
    spark, job, write, read, endpoint, monkeypatch
):
    from jobs import targets

    write(documents(3))
    honest = targets.Target._fresh

    def beaten(self, questions, spark, base):
        fresh = honest(self, questions, spark, base)
        if not getattr(beaten, "done", False):
            beaten.done = True
            run_batch(spark, job(*at(endpoint, "target.mode=append")))
        return fresh

    monkeypatch.setattr(targets.Target, "_fresh", beaten)
    with pytest.raises(JobError, match="another run committed"):
        run_batch(spark, job(*at(endpoint, "target.mode=append")))
    assert len(read("target")) == 3


def test_a_source_that_is_no_table_is_named(spark, job, tmp_path):
    with pytest.raises(TableError, match=f"{tmp_path}/source.*expected a Delta table"):
        run_batch(spark, job())


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("source.columns.document=text", "no column 'text'"),
        ("source.columns.document=pages", "expects string, found int"),
        ("source.columns.document=scan", "expects string, found binary"),
        ("source.key=nr", "no column 'nr'"),
        ("target.keep=[pages, colour]", "no column 'colour'"),
        ("source.key=result", "has its own"),
        ("source.key=[id, SOURCE]", r"\['SOURCE'\].*has its own"),
        ("target.keep=[Result]", r"\['Result'\].*has its own"),
        ("target.keep=[_Flow_length]", r"\['_Flow_length'\].*has its own"),
        ("target.keep=[_variable_document]", "has its own"),
        ("target.keep=[ID]", r"target.keep name \['ID', 'id'\]"),
        ("target.keep=[place.x]", r"target.keep name \['place.x'\], fields of a column"),
        ("source.key=[id, '`p.l`']", r"source.key names \['`p.l`'\]"),
        ("target.keep=[pages, pages]", r"target.keep name \['pages', 'pages'\]"),
    ],
)
def test_a_misfitting_column_is_named_before_any_model_is_loaded(
    spark, job, write, tmp_path, assignment, message
):
    write(
        [("a", "text", 1, bytearray(b"x"), "r", "crm", 4, "v", (1,), "p")],
        "id string, body string, pages int, scan binary, result string, source string, "
        "_flow_length int, _variable_document string, place struct<x: int>, `p.l` string",
    )
    with pytest.raises(TableError, match=message):
        run_batch(spark, job(assignment))
    assert not (tmp_path / "ledger").exists()


def test_duplicate_and_null_keys_are_refused(spark, job, write):
    write([("a", "x"), ("a", "y"), (None, "z")])
    with pytest.raises(TableError, match=r"expected each key once and not null.*'a'"):
        run_batch(spark, job())


def test_the_last_of_duplicate_keys_is_kept_where_wanted(spark, job, write, read, endpoint):
    write([("a", "key=old", 1), ("a", "key=new", 2)], "id string, body string, at int")
    run_batch(spark, job(*at(endpoint, "source.duplicates=last", "source.order_by=at")))
    assert [call.key for call in endpoint.calls()] == ["new"]
    assert len(read("target")) == 1


def test_columns_called_as_those_of_a_job_once_were_come_through(spark, job, write, read, endpoint):
    """The column that is asked about among them, and one that no hash takes."""
    write(
        [("a", "key=old", 1, 7, {"x": 1}), ("a", "key=new", 2, 8, {"y": 2})],
        "id string, _rank string, row int, _length int, `m.ap` map<string, int>",
    )
    last = ("source.duplicates=last", "source.order_by=row", "source.columns.document=_rank")
    run_batch(spark, job(*at(endpoint, *last, "target.keep=[_length, row]")))
    assert [call.key for call in endpoint.calls()] == ["new"]
    assert [(it["_length"], it["row"]) for it in read("target")] == [(8, 2)]


def test_a_table_that_the_job_did_not_write_is_not_merged_into(spark, job, write, tmp_path):
    write([("a", "x")])
    spark.range(3).write.format("delta").save(f"{tmp_path}/target")
    with pytest.raises(TableError, match="expected a table that this job wrote"):
        run_batch(spark, job())


def test_a_table_that_is_no_ledger_is_refused(spark, job, write, tmp_path):
    write([("a", "x")])
    spark.range(3).write.format("delta").save(f"{tmp_path}/ledger")
    with pytest.raises(TableError, match="no ledger"):
        run_batch(spark, job())

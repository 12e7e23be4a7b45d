"""The refresh on real tables, against the fake endpoint as the oracle of what is paid."""

import json
from contextlib import nullcontext
from shutil import rmtree

import pytest
from rounds import long

from chains.errors import JobError, SettingsError, TableError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch
from jobs.plan import run_plan
from jobs.refresh import run_refresh
from jobs.refresh_settings import PlanSettings, RefreshSettings
from jobs.settings import load_settings_of

pytestmark = pytest.mark.spark

FEED = "delta.enableChangeDataFeed"
ROWS = [("a", "key=a one", 1), ("b", "key=b two", 2), ("c", "key=c three", 3), ("d", None, 4)]


@pytest.fixture
def source(spark, tmp_path):
    """Return a function that runs SQL on the source `{}`, which is made of ROWS, feed on."""
    path = f"{tmp_path}/source"
    frame = spark.createDataFrame(ROWS, "id string, body string, page int")
    frame.write.format("delta").option(FEED, "true").save(path)
    return lambda sql: spark.sql(sql.format(f"delta.`{path}`"))


@pytest.fixture
def read(spark, tmp_path):
    """Return a function that reads a table of the job as a dict by id."""

    def read(name):
        rows = spark.read.format("delta").load(f"{tmp_path}/{name}").collect()
        assert len({row["id"] for row in rows}) == len(rows)
        return {row["id"]: row for row in rows}

    return read


@pytest.fixture
def refresh(spark, job, tmp_path):
    """Return a function that refreshes the target: an endpoint, assignments, who watches."""
    job()

    def refresh(endpoint, *assignments, **options):
        given = at(endpoint) + assignments
        settings = load_settings_of(RefreshSettings, tmp_path / "job.yml", given)
        return run_refresh(spark, settings, **options)

    return refresh


def at(endpoint):
    """Return the assignments of a job that asks an endpoint."""
    return (
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.attempts=1",
    )


def asked(endpoint):
    """Return the keys that were paid for, in order of the alphabet."""
    return sorted(call.key for call in endpoint.calls())


def change(source):
    """Insert e, update b, delete a, and touch c where no one looks."""
    source("insert into {} values ('e', 'key=e five', 5)")
    source("update {} set body = 'key=b2 two' where id = 'b'")
    source("update {} set page = 33 where id = 'c'")
    source("delete from {} where id = 'a'")


@pytest.mark.parametrize("how", ["feed", pytest.param("comparison", marks=long)])
def test_target_follows_its_source_at_the_price_of_the_change(
    refresh, source, read, endpoint, spark, tmp_path, how
):
    source(f"alter table {{}} set tblproperties ({FEED} = {str(how == 'feed').lower()})")
    first = refresh(endpoint)
    assert (first.how, first.rows["inserted"], first.skipped) == ("all", 4, 1)
    assert asked(endpoint) == ["a", "b", "c"]
    change(source)
    second = refresh(endpoint)
    assert asked(endpoint) == ["a", "b", "b2", "c", "e"]
    kinds = [second.rows[it] for it in ("candidates", "inserted", "updated", "deleted")]
    assert (second.how, kinds) == (how, [2, 1, 1, 1])
    assert second.rows["unread"] == (2 if how == "feed" else 0)
    assert bool(second.because) == (how == "comparison")
    rows = read("target")
    assert {it: rows[it]["result"] and rows[it]["result"].split()[2][:-1] for it in rows} == {
        "b": "b2", "c": "c", "d": None, "e": "e"
    }  # fmt: skip
    history = spark.sql(f"describe history delta.`{tmp_path}/target`")
    assert history.count() == 2


@long
def test_what_comes_to_nothing_in_the_end_costs_nothing(
    refresh, source, read, endpoint, spark, tmp_path
):
    refresh(endpoint)
    refresh(endpoint)
    history = spark.sql(f"describe history delta.`{tmp_path}/target`")
    assert history.count() == 1
    source("insert into {} values ('x', 'key=x', 0)")
    source("delete from {} where id = 'x'")
    source("update {} set body = 'key=no' where id = 'a'")
    source("update {} set body = 'key=a one' where id = 'a'")
    source("optimize {}")
    report = refresh(endpoint)
    assert (report.how, report.rows["candidates"], report.rows["unread"]) == ("feed", 0, 4)
    assert asked(endpoint) == ["a", "b", "c"]
    assert read("target").keys() == {"a", "b", "c", "d"}
    assert refresh(endpoint).how == "feed"
    assert spark.sql(f"describe history delta.`{tmp_path}/target`").count() == 2


@long
def test_versions_that_the_feed_lacks_are_made_up_for(refresh, source, read, endpoint):
    source(f"alter table {{}} set tblproperties ({FEED} = false)")
    refresh(endpoint)
    change(source)
    source(f"alter table {{}} set tblproperties ({FEED} = true)")
    report = refresh(endpoint)
    assert (report.how, report.completed) == ("comparison", 2)
    assert "does not reach back" in report.because
    assert read("target").keys() == {"b", "c", "d", "e"}


@long
def test_a_changed_question_asks_all_rows_and_an_equal_one_none(refresh, source, endpoint):
    refresh(endpoint)
    report = refresh(endpoint, "chain.parameters.seed=1")
    assert (report.how, report.rows["updated"], report.completed) == ("comparison", 3, 3)
    again = refresh(endpoint, "chain.parameters.seed=1", "chain.max_input_chars=1000")
    assert (again.how, again.rows["candidates"]) == ("comparison", 0)
    assert len(endpoint.calls()) == 6


@long
def test_kept_columns_follow_without_a_call(refresh, source, read, endpoint):
    refresh(endpoint, "target.keep=[page]")
    source("update {} set page = 33 where id = 'c'")
    report = refresh(endpoint, "target.keep=[page]")
    assert (report.how, report.hits, report.rows["updated"]) == ("feed", 1, 1)
    assert {it["id"]: it["page"] for it in read("target").values()} == {
        "a": 1, "b": 2, "c": 33, "d": 4
    }  # fmt: skip
    assert len(endpoint.calls()) == 3


@long
def test_failed_rows_are_asked_again_and_letters_of_gone_rows_go(refresh, source, read):
    faults = {"a": {"status": 400}, "b": {"status": 500}, "c": {"status": 400}}
    with FakeEndpoint(FakeSettings(faults=faults)) as endpoint:
        assert refresh(endpoint).errors == {"invalid_request": 2, "server_error": 1}
    source("delete from {} where id = 'c'")
    with FakeEndpoint() as endpoint:
        report = refresh(endpoint)
        assert asked(endpoint) == ["b"]
    assert (report.how, report.errors) == ("feed", {"invalid_request": 1})
    assert read("target_errors").keys() == {"a"}
    assert read("target").keys() == {"b", "d"}


@long
def test_dead_letters_that_were_not_written_are_made_up_for(refresh, source, read, tmp_path):
    with FakeEndpoint(FakeSettings(faults={"a": {"status": 400}})) as endpoint:
        refresh(endpoint)
        rmtree(f"{tmp_path}/target_errors")  # as a kill before it was written leaves it
        report = refresh(endpoint)
        assert len(endpoint.calls()) == 3
    assert (report.how, report.errors) == ("comparison", {"invalid_request": 1})
    assert read("target_errors").keys() == {"a"}


def test_columns_named_in_another_case_are_followed_too(refresh, source, endpoint):
    other_case = ("source.columns={document: Body}", "source.key=ID", "target.keep=[Page]")
    refresh(endpoint, *other_case)
    change(source)
    report = refresh(endpoint, *other_case)
    kinds = [report.rows[it] for it in ("inserted", "updated", "deleted")]
    assert (report.how, kinds) == ("feed", [1, 2, 1])
    assert asked(endpoint) == ["a", "b", "b2", "c", "e"]


def test_another_case_in_the_settings_changes_no_row(refresh, source, endpoint):
    refresh(endpoint, "target.keep=[page]")
    report = refresh(endpoint, "source.key=ID", "target.keep=[PAGE]")
    assert (report.how, report.rows["candidates"]) == ("comparison", 0)


@pytest.mark.parametrize("how", ["feed", "comparison"])
def test_variants_and_names_in_backticks_are_followed(refresh, endpoint, spark, tmp_path, how):
    path = f"{tmp_path}/odd"
    spark.sql(
        f"create table delta.`{path}` using delta tblproperties ({FEED} = {how == 'feed'}) "
        "as select id, 'key=' || id `a.b`, id `c.d`, parse_json('[1]') v "
        "from values ('x'), ('y'), ('z') as (id)"
    )
    odd = ("source.columns.document=`a.b`", "target.keep=['`c.d`', v]", f"source.table={path}")
    refresh(endpoint, *odd)
    spark.sql(f"update delta.`{path}` set v = parse_json('[2]') where id = 'x'")
    spark.sql(f"update delta.`{path}` set `a.b` = 'key=y2', `c.d` = 'y2' where id = 'y'")
    report = refresh(endpoint, *odd)
    assert (report.how, report.rows["updated"]) == (how, 2)
    assert asked(endpoint) == ["x", "y", "y2", "z"]
    target = spark.read.format("delta").load(f"{tmp_path}/target")
    kept = target.selectExpr("id", "`c.d`", "to_json(v)").sort("id").collect()
    assert [tuple(it) for it in kept] == [("x", "x", "[2]"), ("y", "y2", "[1]"), ("z", "z", "[1]")]
    assert refresh(endpoint, *odd).rows["candidates"] == 0


@pytest.mark.parametrize("how", ["feed", pytest.param("comparison", marks=long)])
def test_a_plan_counts_what_the_refresh_would_ask(refresh, source, endpoint, spark, tmp_path, how):
    refresh(endpoint)
    source(f"alter table {{}} set tblproperties ({FEED} = {str(how == 'feed').lower()})")
    spark.sql(f"delete from delta.`{tmp_path}/ledger`")
    source("update {} set body = 'key=b2 two' where id = 'b'")
    given = (*at(endpoint), "target.on_delete=delete")
    planned = run_plan(spark, load_settings_of(PlanSettings, tmp_path / "job.yml", given))
    assert (planned.rows, planned.misses) == (4, 1)
    assert planned.reasons == {"changed": 1, "unchanged": 3}
    report = refresh(endpoint)
    assert (report.how, report.misses) == (how, 1)


def test_dead_letters_that_others_take_are_made_up_for(
    refresh, source, read, endpoint, spark, tmp_path
):
    letters = f"delta.`{tmp_path}/target_errors`"
    takes = [
        lambda: spark.sql(f"delete from {letters}"),
        lambda: rmtree(f"{tmp_path}/target_errors"),
    ]
    with FakeEndpoint(FakeSettings(faults={"a": {"status": 400}})) as failing:
        refresh(failing)
        for taken in takes:
            source("update {} set body = body || '.' where id = 'b'")
            assert refresh(failing).how == "feed"
            taken()
            source("update {} set body = body || '.' where id = 'b'")
            report = refresh(failing)
            assert (report.how, report.errors) == ("comparison", {"invalid_request": 1})
            assert "dead letters" in report.because
            assert read("target_errors").keys() == {"a"}


def test_a_target_made_anew_has_dead_letters_made_anew(refresh, source, read, endpoint, tmp_path):
    faults = {"a": {"status": 400}, "b": {"status": 500}}
    with FakeEndpoint(FakeSettings(faults=faults)) as failing:
        refresh(failing)
    rmtree(f"{tmp_path}/target")
    again = refresh(endpoint, "chain.parameters.seed=1")
    assert (again.how, again.errors) == ("all", {})
    assert read("target").keys() == {"a", "b", "c", "d"}
    assert read("target_errors") == {}
    assert refresh(endpoint, "chain.parameters.seed=1").how == "feed"


@long
def test_gone_rows_are_kept_or_marked_and_unmarked(refresh, source, read, endpoint):
    keeping, marking = "target.on_delete=keep", "target.on_delete=mark"
    refresh(endpoint, keeping)
    source("delete from {} where id in ('a', 'b')")
    assert refresh(endpoint, keeping).rows["deleted"] == 0
    assert read("target").keys() == {"a", "b", "c", "d"}
    assert refresh(endpoint, marking).rows["deleted"] == 2
    source("insert into {} values ('a', 'key=a one', 1)")
    source("delete from {} where id = 'c'")
    report = refresh(endpoint, marking)
    kinds = [report.rows[it] for it in ("inserted", "updated", "deleted")]
    assert (report.how, kinds, len(endpoint.calls())) == ("feed", [0, 1, 1], 3)
    marked = {it["id"] for it in read("target").values() if it["deleted_at"]}
    assert (marked, read("target").keys()) == ({"b", "c"}, {"a", "b", "c", "d"})
    assert refresh(endpoint, "target.on_delete=delete").rows["deleted"] == 2
    assert read("target").keys() == {"a", "d"}


@long
def test_a_kept_column_is_not_written_over_by_marks(refresh, source, endpoint):
    with pytest.raises(SettingsError, match="deleted_at"):
        refresh(endpoint, "target.on_delete=mark", "source.key=[id, deleted_at]")


@pytest.mark.parametrize("how", ["feed", "comparison"])
def test_keys_and_kept_columns_have_names_that_the_job_uses_nowhere(
    job, refresh, endpoint, spark, tmp_path, how
):
    path = f"{tmp_path}/named"
    called = "code string, last string, there string, body string, row int, retryable int"
    rows = spark.createDataFrame([("DE", "x", "y", "key=a", 1, 2)], called)
    rows.write.format("delta").option(FEED, str(how == "feed").lower()).save(path)
    named = (f"source.table={path}", "source.key=[code, last, there, retryable]")
    kept = "target.keep=[row]"
    refresh(endpoint, *named, kept)
    spark.sql(f"update delta.`{path}` set body = 'key=b'")
    assert run_plan(spark, job(*at(endpoint), *named, kept)).reasons == {"changed": 1}
    report = refresh(endpoint, *named, kept)
    assert (report.how, report.rows["updated"]) == (how, 1)
    assert asked(endpoint) == ["a", "b"]


@long
def test_of_two_refreshes_at_once_one_wins_and_the_other_says_so(refresh, source, read, endpoint):
    refresh(endpoint)
    change(source)

    def beaten(prompts):
        refresh(endpoint, "ledger.reuse=false")  # else it waits for the answers of the first
        return nullcontext()

    with pytest.raises(JobError, match=r"another run committed.*Run the job again"):
        refresh(endpoint, watch=beaten)
    assert read("target").keys() == {"b", "c", "d", "e"}


@long
def test_others_at_the_tables_meanwhile_cost_no_call(
    refresh, source, read, endpoint, spark, tmp_path
):
    refresh(endpoint)
    change(source)

    def meanwhile(prompts):
        source("delete from {} where id = 'c'")
        spark.sql(f"optimize delta.`{tmp_path}/target`")
        spark.sql(f"alter table delta.`{tmp_path}/target` add columns (note string)")
        spark.sql(f"delete from delta.`{tmp_path}/target` where id = 'd'")
        return nullcontext()

    refresh(endpoint, watch=meanwhile)
    assert read("target").keys() == {"b", "c", "e"}
    report = refresh(endpoint)
    assert "others have changed" in report.because
    assert read("target").keys() == {"b", "d", "e"}
    assert len(endpoint.calls()) == 5


def test_a_changed_row_that_others_delete_from_the_target_meanwhile_is_there_again(
    refresh, source, read, endpoint, spark, tmp_path
):
    refresh(endpoint)
    source("update {} set body = 'key=b2 two' where id = 'b'")

    def meanwhile(prompts):
        spark.sql(f"delete from delta.`{tmp_path}/target` where id in ('b', 'd')")
        return nullcontext()

    refresh(endpoint, watch=meanwhile)
    assert read("target").keys() == {"a", "b", "c"}
    assert "others have changed" in refresh(endpoint).because
    assert read("target").keys() == {"a", "b", "c", "d"}
    assert asked(endpoint) == ["a", "b", "b2", "c"]


@long
def test_a_key_that_comes_twice_is_refused_or_the_last_counts(refresh, source, read, endpoint):
    refresh(endpoint)
    source("insert into {} values ('a', 'key=a9', 9)")
    with pytest.raises(TableError, match=r"expected each key once.*'a'"):
        refresh(endpoint)
    last = ("source.duplicates=last", "source.order_by=page")
    assert refresh(endpoint, *last).completed == 1
    source("delete from {} where page = 9")
    report = refresh(endpoint, *last)
    assert (report.how, report.hits, report.rows["updated"]) == ("feed", 1, 1)
    assert "answer to a" in read("target")["a"]["result"]
    assert asked(endpoint) == ["a", "a9", "b", "c"]


@long
def test_the_target_of_a_batch_is_taken_over_unless_rows_fail(spark, job, refresh, source, read):
    with FakeEndpoint() as endpoint:
        run_batch(spark, job(*at(endpoint)))
        before = read("target")
    change(source)
    with FakeEndpoint(FakeSettings(faults={"e": {"status": 400}})) as endpoint:
        with pytest.raises(JobError, match="on_error is fail"):
            refresh(endpoint, "on_error=fail")
        assert read("target") == before
        report = refresh(endpoint)
        assert asked(endpoint) == ["b2", "e"]
    assert (report.how, report.errors) == ("comparison", {"invalid_request": 1})
    assert read("target").keys() == {"b", "c", "d"}


@long
def test_the_command_ends_with_3_while_rows_wait(refresh, source, tmp_path, capsys):
    from jobs.cli import main

    with FakeEndpoint(FakeSettings(api_key="right")) as endpoint:
        sets = [word for it in at(endpoint) for word in ("--set", it)]
        assert main(["refresh", str(tmp_path / "job.yml"), "--json", *sets]) == 3
    assert json.loads(capsys.readouterr().out)["errors"] == {"credential": 3}
    with FakeEndpoint() as endpoint:
        sets = [word for it in at(endpoint) for word in ("--set", it)]
        assert main(["refresh", str(tmp_path / "job.yml"), *sets]) == 0
    assert "3 inserted, 0 updated" in " ".join(capsys.readouterr().out.split())

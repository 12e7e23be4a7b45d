"""Looking after a ledger: what it holds, its files, and what it has to forget."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from pyarrow import table
from rounds import long

from chains.errors import TableError
from jobs.batch import run_batch
from jobs.cli import commands
from jobs.ledger_care import LedgerConf, run_compact, run_forget, run_stats
from jobs.settings import load_settings_of

pytestmark = pytest.mark.spark

TEXTS = {"a": "key=a one", "b": "key=b two", "twin": "key=b two", "c": "key=c three"}


@pytest.fixture
def run(spark, job, endpoint, tmp_path):
    """Return a function that runs the job over the texts; it has run once."""
    rows = table({"id": list(TEXTS), "body": list(TEXTS.values())})
    write_deltalake(f"{tmp_path}/source", rows)
    settings = job("chain.model=endpoint:fake/m", f"endpoints.fake.base_url={endpoint.base_url}")

    def run():
        return run_batch(spark, settings)

    run()
    return run


@pytest.fixture
def care(run, tmp_path):
    """Return the settings of the same job as its ledger's commands read them."""
    return load_settings_of(LedgerConf, tmp_path / "job.yml")


def test_stats_tell_what_was_answered_by_whom(spark, care):
    stats = run_stats(spark, care)
    (use,) = stats.uses
    assert (use.model, use.template) == ("fake/m", "summarize@1")
    assert (use.answers, use.errors) == (3, 0)
    assert use.input_tokens > 0
    assert use.first <= use.last
    assert stats.files > 0
    assert stats.bytes > 0


@long
def test_a_compact_ledger_answers_as_before(spark, run, care, endpoint, tmp_path):
    asked = len(endpoint.calls())
    before = DeltaTable(f"{tmp_path}/ledger").to_pyarrow_table().num_rows
    run_compact(spark, care, None)
    assert DeltaTable(f"{tmp_path}/ledger").to_pyarrow_table().num_rows == before
    assert run().misses == 0
    assert len(endpoint.calls()) == asked


def test_a_forgotten_row_is_asked_anew_and_no_other(spark, run, care, endpoint, tmp_path):
    asked = len(endpoint.calls())
    assert (
        run_forget(spark, care, {"id": "twin"}).rows == 1
    )  # paid by b, whose question is the same
    left = DeltaTable(f"{tmp_path}/ledger").to_pyarrow_table()
    assert not any("two" in text for text in left["result"].to_pylist() if text)
    assert run().misses == 1
    assert [call.key for call in endpoint.calls()[asked:]] == ["b"]


def test_a_key_that_is_a_time_is_forgotten_with_its_earlier_questions(
    spark, job, endpoint, tmp_path
):
    at = f"endpoints.fake.base_url={endpoint.base_url}"
    settings = job("chain.model=endpoint:fake/m", at, "source.key=at")
    for body in ("key=then", "key=now"):
        rows = table({"at": [datetime(2024, 1, 1, tzinfo=UTC)], "body": [body]})
        write_deltalake(f"{tmp_path}/source", rows, mode="overwrite")
        run_batch(spark, settings)
    care = load_settings_of(LedgerConf, tmp_path / "job.yml")
    assert run_forget(spark, care, {"at": "no time"}).rows == 0
    target = spark.read.format("delta").load(f"{tmp_path}/target")
    (shown,) = target.select(target["at"].cast("string")).first()
    assert run_forget(spark, care, {"at": shown}).rows == 2


@long
def test_a_row_that_is_not_there_forgets_nothing(spark, run, care):
    assert run_forget(spark, care, {"id": "nobody"}).rows == 0
    assert run().misses == 0


@long
def test_a_key_of_another_column_is_named(spark, care):
    with pytest.raises(TableError, match="no \\['name'\\]"):
        run_forget(spark, care, {"name": "a"})


def test_answers_are_forgotten_by_age(spark, run, care):
    assert run_forget(spark, care, {}, timedelta(days=1)).rows == 0
    assert run_forget(spark, care, {}, timedelta(0)).rows > 0
    assert run().hits == 0


def test_the_command_prints_one_object(spark, care, tmp_path):
    conf = str(tmp_path / "job.yml")
    said = CliRunner().invoke(commands, ["ledger", "stats", conf, "--json"])
    assert json.loads(said.stdout)["uses"][0]["model"] == "fake/m"


@pytest.mark.parametrize("options", [[], ["--key", "id=a", "--older-than", "1"], ["--key", "a"]])
def test_forget_wants_a_key_or_an_age(options, tmp_path):
    conf = tmp_path / "job.yml"
    conf.write_text("ledger: {table: ./ledger}\n")
    said = CliRunner().invoke(commands, ["ledger", "forget", str(conf), *options])
    assert said.exit_code == 2
    assert "expected" in said.stderr

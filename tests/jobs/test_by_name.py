"""Jobs whose tables are named in a catalog."""

from pathlib import Path
from uuid import uuid4

import pytest

from chains.errors import TableError
from jobs.batch import run_batch
from jobs.checkpoint import open_checkpoint
from udfs.delta import Table
from udfs.ledger import Ledger

pytestmark = pytest.mark.spark

ROWS = [(f"r{i}", f"key=r{i} says {i}") for i in range(3)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return tmp_path_factory.mktemp("schema") / "a lake%20house"


@pytest.fixture(scope="module")
def schema(spark, lake):
    """Return a schema whose folder has a space in its name, with a source in it."""
    name = f"of_{uuid4().hex[:8]}"
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{lake}'")
    frame = spark.createDataFrame(ROWS, "id string, body string")
    frame.write.format("delta").saveAsTable(f"{name}.source")
    yield name
    spark.sql(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def by_name(job, endpoint, schema):
    """Return a function from assignments to the settings of a job without a path."""
    mine = uuid4().hex[:8]
    named = {"source": "source", "target": f"`target_{mine}`", "ledger": f"ledger_{mine}"}
    tables = [f"{key}.table=spark_catalog.{schema}.{it}" for key, it in named.items()]
    model = ["chain.model=endpoint:fake/m", f"endpoints.fake.base_url={endpoint.base_url}"]
    return lambda *assignments: job(*tables, *model, *assignments)


def tables_of(spark, schema):
    return {row["tableName"] for row in spark.sql(f"SHOW TABLES IN {schema}").collect()}


def test_a_batch_by_name_pays_once_and_keeps_its_journal_at_the_ledgers_place(
    spark, by_name, endpoint, schema, lake
):
    settings = by_name()
    assert run_batch(spark, settings).written == len(ROWS)
    assert run_batch(spark, settings).completed == 0
    assert len(endpoint.calls()) == len(ROWS)
    rows = Table(settings.target.table).read(spark).collect()
    assert {row["source"] for row in rows} == {f"spark_catalog.{schema}.source@0"}
    (folder,) = lake.glob("ledger_*")
    found = Ledger(Table(settings.ledger.table)).journal(spark).folder
    assert found == f"file:{folder}/_journal"
    assert Path(folder, "_journal").is_dir()


def test_dead_letters_are_beside_a_target_in_backticks(spark, by_name):
    gone = ["endpoints.fake.base_url=http://127.0.0.1:9", "endpoints.fake.attempts=1"]
    settings = by_name(*gone)
    run_batch(spark, settings)
    letters = settings.target.table.rstrip("`") + "_errors`"
    assert spark.table(letters).count() == len(ROWS)


@pytest.mark.parametrize("key", ["source.table", "target.table", "ledger.table"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_schema.t", "expected a (Delta table|schema `no_schema`), found none"),
        ("no_catalog.of.t", "a catalog that the session has; it says .*no_catalog"),
        ("a.b.c.d", "up to 3 parts"),
    ],
)
def test_a_name_without_a_home_is_refused_before_anything_is_made(
    spark, by_name, endpoint, schema, key, name, told
):
    before = tables_of(spark, schema)
    with pytest.raises(TableError, match=f"table '{name}': .*{told}"):
        run_batch(spark, by_name(f"{key}={name}"))
    assert (tables_of(spark, schema), endpoint.calls()) == (before, [])


def test_a_name_that_the_session_catalog_cannot_make_is_refused(spark, by_name, schema):
    with pytest.raises(TableError, match="letters, digits and _"):
        run_batch(spark, by_name(f"target.table={schema}.my-summaries"))


@pytest.mark.parametrize("key", ["source.table", "target.table", "ledger.table"])
def test_a_table_that_is_not_deltas_is_refused_before_anything_is_paid(
    spark, by_name, endpoint, schema, key
):
    spark.sql(f"CREATE TABLE IF NOT EXISTS {schema}.other (id string, body string) USING parquet")
    with pytest.raises(TableError, match=r"other.*expected a Delta table.*not a Delta table"):
        run_batch(spark, by_name(f"{key}={schema}.other"))
    assert endpoint.calls() == []


def test_a_stream_begins_no_checkpoint_for_a_target_without_a_home(spark, settings, tmp_path):
    with (
        pytest.raises(TableError, match="expected a schema `no_schema`, found none"),
        open_checkpoint(spark, settings("target.table=no_schema.t")),
    ):
        pass
    assert not (tmp_path / "checkpoint").exists()

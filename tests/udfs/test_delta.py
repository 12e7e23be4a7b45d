"""Tables: names, versions, and commits that land once."""

import os
import time
from pathlib import Path

import pytest
from pyspark.errors import IllegalArgumentException

from chains.errors import JobError, TableError
from udfs.delta import Commit, Table

pytestmark = pytest.mark.spark


@pytest.fixture
def table(tmp_path):
    """Return a table that is not there yet."""
    return Table(f"{tmp_path}/t")


def rows(spark, *ids):
    return spark.createDataFrame([(it, f"text {it}") for it in ids], "id int, text string")


def ids(spark, table):
    return sorted(row["id"] for row in table.read(spark).collect())


def test_names_are_quoted_and_paths_are_paths():
    assert Table("main.fin.my-reports").relation == "`main`.`fin`.`my-reports`"
    assert Table("`main`.`x`").relation == "`main`.`x`"
    assert Table("s3a://b/t").relation == "delta.`s3a://b/t`"
    assert Table.named("./t").name.startswith("/")
    assert Table.named("s3a://b/t/").name == Table.named("s3a://b/t").name == "s3a://b/t"
    assert Table("s3a://b/t/").beside("_errors").name == "s3a://b/t_errors"


def test_of_two_commits_computed_on_one_version_one_lands(spark, table):
    table.append(rows(spark, 1), Commit("job", table.version(spark), "run-0"))
    base = table.version(spark)
    table.append(rows(spark, 2), Commit("job", base, "run-1"))
    with pytest.raises(JobError, match="another run committed since version 0"):
        table.append(rows(spark, 2), Commit("job", base, "run-2"))
    assert ids(spark, table) == [1, 2]


def test_merge_replaces_and_adds_and_counts(spark, table):
    table.append(rows(spark, 1, 2), Commit("job", -1, "run-0"))
    changed = rows(spark, 2, 3).selectExpr("id", "upper(text) as text")
    assert table.merge(changed, ["id"], Commit("job", 0, "run-1")) == 2
    found = {row["id"]: row["text"] for row in table.read(spark).collect()}
    assert found == {1: "text 1", 2: "TEXT 2", 3: "TEXT 3"}


def test_append_once_lands_once_whatever_else_is_written(spark, table):
    """The session's settings of another write in progress do not change whose commit it is."""
    table.append(rows(spark, 1), Commit("job", -1, "run-0"))
    other = Commit("other job", 7, "run-1").settings
    for name, value in other.items():
        spark.conf.set(name, value)
    try:
        for _ in range(2):
            table.append_once(rows(spark, 2), "journal/x")
    finally:
        for name in other:
            spark.conf.unset(name)
    table.append(rows(spark, 3), Commit("other job", 7, "run-1"))
    assert ids(spark, table) == [1, 2, 3]


def test_a_version_is_read_as_it_was(spark, table):
    table.append(rows(spark, 1), Commit("job", -1, "run-0"))
    table.overwrite(rows(spark, 9), Commit("job", 0, "run-1"))
    assert table.read(spark, 0).first()["id"] == 1
    with pytest.raises(TableError, match="version 7"):
        table.read(spark, 7)


def test_a_catalog_table_works_like_a_path(spark):
    table = Table("spark_catalog.default.catalogued")
    assert not table.exists(spark)
    table.append(rows(spark, 1), Commit("job", -1, "run-0"))
    table.merge(rows(spark, 1, 2), ["id"], Commit("job", table.version(spark), "run-1"))
    for _ in range(2):
        table.append_once(rows(spark, 3), "journal/x")
    assert ids(spark, table) == [1, 2, 3]
    spark.sql(f"DROP TABLE {table.relation}")


def test_files_stay_for_as_many_hours_as_are_asked(spark, table):
    table.append(rows(spark, 1), Commit("job", -1, "run-0"))
    stray = Path(table.name, "stray.parquet")
    stray.touch()
    then = time.time() - 300 * 3600
    os.utime(stray, (then, then))
    table.vacuum(spark, 720)
    assert stray.exists()
    table.vacuum(spark, 200)
    assert not stray.exists()
    assert ids(spark, table) == [1]


def test_files_of_the_last_week_are_not_removed(spark, table):
    table.append(rows(spark, 1), Commit("job", -1, "run-0"))
    with pytest.raises(IllegalArgumentException, match="retention"):
        table.vacuum(spark, 5)

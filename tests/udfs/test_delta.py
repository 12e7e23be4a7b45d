"""Tables: names, versions, and commits that land once."""

import os
import time
from pathlib import Path

import pytest
from pyspark.errors import IllegalArgumentException

from chains.errors import JobError, TableError
from udfs.commits import Commit
from udfs.delta import DELETION_VECTORS, Table

pytestmark = pytest.mark.spark
VECTORS = {DELETION_VECTORS: "true"}


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


@pytest.fixture
def catalog_table(spark):
    """Return a table of a catalog that is not there yet; its schema goes at the end."""
    spark.sql("CREATE SCHEMA fin")
    yield Table("fin.t")
    spark.sql("DROP SCHEMA fin CASCADE")


@pytest.mark.parametrize("vectors", ["true", "false"])
@pytest.mark.parametrize("place", ["table", "catalog_table"])
def test_merge_replaces_and_adds_and_counts(spark, request, place, vectors):
    table = request.getfixturevalue(place)
    table.append(rows(spark, 1, 2), Commit("job", -1, "run-0"), {DELETION_VECTORS: vectors})
    changed = rows(spark, 2, 3).selectExpr("id", "upper(text) as text", "id + 1 as size")
    assert table.merge(changed, ["id"], Commit("job", 0, "run-1")) == 2
    found = {row["id"]: (row["text"], row["size"]) for row in table.read(spark).collect()}
    assert found == {1: ("text 1", None), 2: ("TEXT 2", 3), 3: ("TEXT 3", 4)}
    assert table.properties(spark)[DELETION_VECTORS] == vectors


def test_of_two_merges_computed_on_one_version_one_lands(spark, table):
    table.append(rows(spark, 1), Commit("job", -1, "run-0"), VECTORS)
    table.merge(rows(spark, 2), ["id"], Commit("job", 0, "run-1"))
    with pytest.raises(JobError, match="another run committed since version 0"):
        table.merge(rows(spark, 3), ["id"], Commit("job", 0, "run-2"))
    assert ids(spark, table) == [1, 2]


def test_nulls_in_keys_are_equal_and_rows_are_told_by_kind(spark, table):
    kind = "a string, b int, text string"
    old = spark.createDataFrame([("x", None, "old"), (None, 1, "old"), ("x", 1, "old")], kind)
    table.append(old, Commit("job", -1, "run-0"), VECTORS)
    new = spark.createDataFrame([("x", None, "new"), (None, 1, "new"), ("y", 1, "new")], kind)
    counts = table.merge_changes(new, ["a", "b"], Commit("job", 0, "run-1"), removes=False)
    assert counts == {"numTargetRowsInserted": 1, "numTargetRowsUpdated": 2}
    found = {(row["a"], row["b"]): row["text"] for row in table.read(spark).collect()}
    assert found == {("x", None): "new", (None, 1): "new", ("x", 1): "old", ("y", 1): "new"}


def test_a_merge_keeps_what_the_new_rows_do_not_have(spark, table):
    mine = rows(spark, 1, 2).selectExpr("*", "'mine' as note")
    table.append(mine, Commit("job", -1, "run-0"), VECTORS)
    table.merge(rows(spark, 2, 3), ["id"], Commit("job", 0, "run-1"))
    found = {row["id"]: row["note"] for row in table.read(spark).collect()}
    assert found == {1: "mine", 2: "mine", 3: None}


def test_the_change_data_feed_of_a_merge_tells_updates(spark, table):
    feed = {"delta.enableChangeDataFeed": "true"}
    table.append(rows(spark, 1, 2), Commit("job", -1, "run-0"), VECTORS | feed)
    table.merge(rows(spark, 2, 3), ["id"], Commit("job", 0, "run-1"))
    told = sorted((it["id"], it["_change_type"]) for it in table.changes(spark, 1, 1).collect())
    assert told == [(2, "update_postimage"), (2, "update_preimage"), (3, "insert")]


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

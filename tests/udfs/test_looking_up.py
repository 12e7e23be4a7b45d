"""Deferred rows of a micro-batch beside the ledger: which answer they get, and which get none."""

import pyarrow as pa
import pytest

from udfs import looking_up
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.looking_up import looked_up

pytestmark = pytest.mark.spark


@pytest.fixture
def ledger(spark, tmp_path):
    """Return a ledger in which x has an error, then an answer, then an error again; y an answer."""
    opened = Ledger(Table(f"{tmp_path}/ledger"))
    opened.open(spark)
    spark.sql(
        f"INSERT INTO {opened.table.relation} (fingerprint, result, error, completed_at) VALUES "
        "('x', null, struct('refused', 'm', false), timestamp'2026-01-01'), "
        "('x', 'older', null, timestamp'2026-01-02'), "
        "('x', 'newer', null, timestamp'2026-01-03'), "
        "('x', null, struct('refused', 'm', false), timestamp'2026-01-04'), "
        "('y', 'only', null, timestamp'2026-01-01')"
    )
    return opened


def outcome(spark, ledger, fingerprints):
    """Return the answers, the known keys, and the keys of the rest, None where there is none."""
    keys = [str(i) for i in range(len(fingerprints))]
    deferred = spark.createDataFrame(
        list(zip(keys, fingerprints, strict=True)), "id string, fingerprint string"
    )
    columns = {"deferred": [*[True] * len(keys), False], "looked_up": [*fingerprints, "z"]}
    followed = pa.table(
        {"deferred": columns["deferred"], "looked_up": pa.array(columns["looked_up"], pa.string())}
    )
    with looked_up(deferred, followed, ledger.rows(spark)) as found:
        answers = {it["fingerprint"]: it["result"] for it in found.answers.collect()}
        known = [it["id"] for it in found.known.orderBy("id").collect()]
        rest = found.rest and [it["id"] for it in found.rest.orderBy("id").collect()]
    return answers, known, rest


@pytest.mark.parametrize("few", [0, 1000])
def test_the_newest_success_answers_and_the_rest_is_told(spark, ledger, monkeypatch, few):
    monkeypatch.setattr(looking_up, "FEW", few)
    answers, known, rest = outcome(spark, ledger, ["x", "y", "x", "new", None])
    assert answers == {"x": "newer", "y": "only"}
    assert known == ["0", "1", "2"]
    assert rest == ["3", "4"]


def test_an_input_without_a_fingerprint_is_left(spark, ledger):
    assert outcome(spark, ledger, ["y", None])[1:] == (["0"], ["1"])
    assert outcome(spark, ledger, [None])[1:] == ([], ["0"])


def test_without_a_rest_there_is_nothing_more_to_do(spark, ledger):
    assert outcome(spark, ledger, ["x", "y"])[1:] == (["0", "1"], None)


def test_a_compacted_ledger_is_in_order_so_that_look_ups_skip_pages(spark, tmp_path):
    opened = Ledger(Table(f"{tmp_path}/ledger"))
    opened.open(spark)
    columns = "sha2(cast(id as string), 256), 'answer', now() FROM range(5000)"
    into = f"INSERT INTO {opened.table.relation} (fingerprint, result, completed_at) SELECT"
    spark.sql(f"{into} {columns}")
    opened.compact(spark)
    files = [
        [row[0] for row in spark.read.parquet(name).select("fingerprint").collect()]
        for name in opened.table.read(spark).inputFiles()
    ]
    assert sum(map(len, files)) == 5000
    # Only 1,000 of them set the bounds of parts, and rows of one part keep the order they had.
    assert all(abs(i - sorted(file).index(it)) < 50 for file in files for i, it in enumerate(file))

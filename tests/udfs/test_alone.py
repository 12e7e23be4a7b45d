"""Writers that take turns."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from udfs import claims
from udfs.alone import alone, in_turn
from udfs.claims import Claims
from udfs.files import Place
from udfs.lease import LEASE, Lease

pytestmark = pytest.mark.spark


@pytest.fixture
def writers(spark, tmp_path):
    return Place(spark, f"{tmp_path}/writers")


@pytest.fixture
def waits(monkeypatch):
    """Return an event: somebody waits."""
    event = Event()
    honest = claims.sleep
    monkeypatch.setattr(claims, "sleep", lambda seconds: (event.set(), honest(0.01)))
    return event


def test_the_second_writer_waits_for_the_first(writers, waits):
    order = []

    def second():
        with in_turn(writers):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with in_turn(writers):
            later = pool.submit(second)
            assert waits.wait(30)
            order.append("first")
        later.result(30)
    assert order == ["first", "second"]
    assert writers.names() == []


def test_a_writer_that_died_is_not_waited_for_and_leaves_nothing(writers, monkeypatch):
    with Lease(writers / "dead" / LEASE):
        Claims(writers).make("dead", "commit", None)
        lease = writers / "dead" / LEASE
        gone = json.dumps({**json.loads(lease.read()), "since": "1"}).encode()
        monkeypatch.setattr(claims, "sleep", lambda seconds: lease.replace(gone))
        with in_turn(writers):
            assert "dead" not in writers.names()


def test_a_failed_writer_lets_the_next_one_go_on(writers):
    with pytest.raises(RuntimeError, match="broken"), in_turn(writers):
        raise RuntimeError("broken")
    with in_turn(writers):
        pass
    assert writers.names() == []


def test_nobody_waits_where_the_storage_refuses_a_second_commit(spark, tmp_path):
    with alone(spark, f"{tmp_path}/table"):
        assert not (tmp_path / "table").exists()
    spark.conf.set("spark.delta.logStore.s3a.impl", "one.that.Refuses")
    try:
        with alone(spark, "s3a://bucket/table"):
            pass
    finally:
        spark.conf.unset("spark.delta.logStore.s3a.impl")

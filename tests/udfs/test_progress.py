"""Counts from workers to the driver."""

from queue import SimpleQueue

from udfs.progress import Progress, ProgressListener


def test_counts_arrive_and_strangers_are_ignored():
    arrived = SimpleQueue()
    with ProgressListener("127.0.0.1", arrived.put) as progress:
        Progress("127.0.0.1", progress.port, "stranger").add(99)
        progress.add(3)
        progress.add(4)
        assert [arrived.get(timeout=10), arrived.get(timeout=10)] == [3, 4]
    assert arrived.empty()


def test_a_worker_without_a_driver_goes_on():
    with ProgressListener("127.0.0.1", lambda rows: None) as progress:
        pass
    progress.add(1)

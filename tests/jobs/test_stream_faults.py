"""What users do to streams, brokers, tables and disks while a stream runs, or between its runs."""

import os
import subprocess
from contextlib import closing, suppress
from queue import Queue
from random import Random
from threading import Event, Thread

import pytest
from deltalake import DeltaTable, Field
from deltalake.exceptions import DeltaError
from kafka import KafkaAdminClient, TopicPartition
from messages import answers, document
from rounds import ROUNDS, long

from chains.errors import JobError
from jobs.stream import Stream, Trigger

pytestmark = [pytest.mark.spark, pytest.mark.process]

STEPS = int(os.environ.get("FAULT_STEPS", "100")) if ROUNDS else 6
MEDDLED = 3


def delete_records(broker, topic, before):
    """Delete records as retention does."""
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        admin.delete_records({TopicPartition(topic, p): end for p, end in before.items()})


def test_offsets_that_retention_took_stop_the_stream(stream, send, read, broker, topic, endpoint):
    """Never silently: it says from where it cannot go on, and what to do; so does each restart."""
    send(*(document(i) for i in range(6)))
    stream()
    send(*(document(i) for i in range(6, 20)))
    ends = _ends(read("target"))
    delete_records(broker, topic, {partition: end + 2 for partition, end in ends.items()})
    for _ in range(2):
        with pytest.raises(JobError, match=r"topic .* no longer has .*on_new_checkpoint"):
            stream()
    assert len(read("target")) == len(endpoint.calls()) == 6


def _ends(rows):
    """Return the next offset of each partition."""
    return {
        partition: 1 + max(it["kafka_offset"] for it in rows if it["kafka_partition"] == partition)
        for partition in {it["kafka_partition"] for it in rows}
    }


@long
def test_others_change_the_target_meanwhile(stream, send, read, endpoint, tmp_path, caplog):
    """ALTER and OPTIMIZE while rows are being merged: written again, not asked again."""
    caplog.set_level("INFO", "gristmill")
    send(*(document(i) for i in range(7)))
    done = Event()
    other = Thread(target=_meddle, args=(tmp_path / "target", done))
    other.start()
    try:
        small = ("chain.parameters.max_output_tokens=10", "max_tokens_per_batch=300")
        stream("source.key=id", "target.mode=merge", *small)
    finally:
        done.set()
        other.join()
    assert "another commit came between" in caplog.text
    assert answers(read("target")) == {f"r{i:03d}" for i in range(7)} - {"r001"}
    assert len(read("target")) == 6
    assert len(endpoint.calls()) == 7


def _meddle(folder, done):
    """Commit something else when the stream has written a file that it has not committed yet."""
    seen, turn = set(), 0
    while turn < MEDDLED and not done.wait(0.002):
        files = set(folder.glob("part-*.parquet"))
        if not (folder / "_delta_log" / "00000000000000000000.json").exists() or files <= seen:
            continue
        table, turn = DeltaTable(folder), turn + 1
        with suppress(DeltaError):  # it may lose the race itself
            if turn % 2:
                table.alter.add_columns([Field(f"more_{turn}", "string")])
            else:
                table.optimize.compact()
        seen = set(folder.glob("part-*.parquet"))
    done.wait()
    DeltaTable(folder).delete("id = 'r001'")


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a file system of 24 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a file system of its own cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@long
@pytest.mark.parametrize("place", ["checkpoint", "ledger.table", "target.table"])
def test_a_full_disk_stops_the_stream_and_it_goes_on_later(
    stream, send, read, endpoint, small_disk, place
):
    at = f"{place}={small_disk}/there"
    send(*(document(i) for i in range(3)))
    stream(at)
    send(*(document(i) for i in range(3, 8)))
    filling = small_disk / "filling"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(JobError, match="No space left on device"):
        stream(at)
    filling.unlink()
    stream(at)
    rows = read("disk/there" if place == "target.table" else "target")
    assert answers(rows) == {f"r{i:03d}" for i in range(8)}
    assert len(rows) == 8
    assert len(endpoint.calls()) <= 8 + 5


@pytest.mark.parametrize("seed", range(max(1, ROUNDS)))
def test_stopped_started_and_added_to_at_random(spark, settings, send, read, endpoint, seed):
    """Offsets are contiguous whenever it has stopped; at the end each message is there once."""
    random, sent, running = Random(seed), 0, None
    for _ in range(STEPS):
        step = random.choice(["add", "start", "stop", "add"])
        if step == "add":
            count = random.randint(1, 9)
            send(*(_message(i) for i in range(sent, sent + count)))
            sent += count
        elif step == "start" and running is None:
            running = _started(spark, settings(*_limits(random)), random.random() < 0.5)
        elif step == "stop" and running is not None:
            running = _stopped(running)
            _check_contiguous(read)
    if running is not None:
        _stopped(running)
    Stream(spark, settings(*_limits(random))).run(Trigger(available_now=True))
    rows, letters = read("target"), read("target_errors")
    _check_contiguous(read)
    good = [i for i in range(sent) if i % 7]
    assert sorted(row["result"].partition(":")[0][10:] for row in rows) == [_id(i) for i in good]
    assert len(letters) == sent - len(good)
    assert sorted(call.key for call in endpoint.calls()) == [_id(i) for i in good]


def _id(number):
    return f"r{number:04d}"


def _message(number):
    """Return a document, each seventh time something that is none."""
    return {"id": _id(number), "body": f"key={_id(number)}"} if number % 7 else b"no json"


def _limits(random):
    tokens = random.choice(["", "400", "1000"])
    return (f"max_rows_per_batch={random.randint(2, 20)}", f"max_tokens_per_batch={tokens}")


def _started(spark, settings, waits):
    """Start a stream in a thread; with `waits` go on when it has done something, or ended."""
    told = Queue()
    stream = Stream(spark, settings, told.put)

    def run():
        stream.run(Trigger(available_now=waits))
        told.put(None)

    thread = Thread(target=run)
    thread.start()
    if waits:
        told.get(timeout=300)
    return stream, thread


def _stopped(running):
    stream, thread = running
    stream.stop()
    thread.join(300)
    assert not thread.is_alive()


def _check_contiguous(read):
    """Check that what is there of each partition is all of it up to some offset, once."""
    found = {}
    for row in [*read("target"), *read("target_errors")]:
        found.setdefault(row["kafka_partition"], []).append(row["kafka_offset"])
    for offsets in found.values():
        assert sorted(offsets) == list(range(len(offsets)))

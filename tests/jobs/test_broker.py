"""A broker of this module's own: it is killed and started again here."""

import os
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, TopicPartition

from chains.errors import JobError
from jobs.broker import Broker
from jobs.producer import Record, produce

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Return a running broker, in a folder whose name is not easy."""
    with Broker(tmp_path_factory.mktemp("kafka") / "bröker, $own") as broker:
        yield broker


@pytest.fixture
def topic():
    return f"test-{uuid.uuid4().hex[:8]}"


def gristmill(*arguments, **variables):
    """Run the command; return the finished process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=environment
    )


def pid_of(broker):
    return int((broker.folder / "broker.pid").read_text())


def is_alive(pid):
    """Tell whether a process is there and more than an entry that nobody has collected."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip()[:1] not in ("", "Z")


def send(broker, topic, *values):
    produce(broker.bootstrap, topic, [Record(b"k", value.encode(), 1) for value in values])


def values_in(broker, topic):
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end, values = consumer.end_offsets([partition])[partition], []
    while consumer.position(partition) < end:
        for batch in consumer.poll(1000).values():
            values += [message.value.decode() for message in batch]
    consumer.close()
    return values


def test_another_client_writes_and_reads_in_a_group(own, topic):
    send(own, topic, "one", "two")
    producer = Producer({"bootstrap.servers": own.bootstrap})
    producer.produce(topic, b"three")
    assert producer.flush(30) == 0
    consumer = Consumer(
        {"bootstrap.servers": own.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found = consumer.consume(3, timeout=30)
    consumer.close()
    assert [message.value() for message in found] == [b"one", b"two", b"three"]


def test_messages_and_address_outlive_a_hard_kill(own, topic):
    address, pid = own.bootstrap, pid_of(own)
    send(own, topic, "before")
    assert own.kill()
    assert not own.running
    assert not is_alive(pid)
    assert own.start()
    assert own.bootstrap == address
    send(own, topic, "after")
    assert values_in(own, topic) == ["before", "after"]


def test_a_second_start_is_none(own):
    pid = pid_of(own)
    assert not Broker(own.folder).start()
    assert not Broker(own.folder, port=1).start()
    assert pid_of(own) == pid


def test_of_two_starts_at_once_one_starts_it(own):
    own.kill()
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(own.start())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, True]


def test_the_commands_start_and_stop_it(own):
    own.stop()
    _, port = own.bootstrap.split(":")
    folder = ["--folder", own.folder]
    started = [gristmill("kafka", "start", *folder, "--port", port) for _ in range(2)]
    assert [run.returncode for run in started] == [0, 0], started[0].stderr
    assert f"runs now at {own.bootstrap}" in started[0].stdout
    assert f"ran already at {own.bootstrap}" in started[1].stdout
    pid = pid_of(own)
    stopped = [gristmill("kafka", "stop", *folder).stdout for _ in range(2)]
    assert "Kafka stopped" in stopped[0]
    assert "was not running" in stopped[1]
    assert not is_alive(pid)
    assert own.start()


def test_stopped_in_good_order_it_leaves_no_process(own):
    pid = pid_of(own)
    assert own.stop()
    assert not is_alive(pid)
    assert (own.folder / "data" / ".kafka_cleanshutdown").exists()
    assert not own.stop()


# -- what needs no broker


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = gristmill("kafka", "start", "--folder", tmp_path, "--port", port)
    assert done.returncode == 1
    assert f"port {port} cannot be had" in " ".join(done.stderr.split())
    assert not Broker(tmp_path).running


def test_without_java_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(JobError, match="no Java found"):
        Broker(tmp_path).start()


def test_a_pid_left_behind_is_nobody(tmp_path):
    (tmp_path / "broker.pid").write_text(str(os.getpid()))
    assert not Broker(tmp_path).running
    assert not Broker(tmp_path).kill()


def test_a_broker_that_fails_shows_the_end_of_its_log(tmp_path):
    (tmp_path / "data" / "__cluster_metadata-0").mkdir(parents=True)
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=2\n")
    with pytest.raises(JobError, match=r"(?s)did not come up.*broker\.log:\n.*node"):
        Broker(tmp_path).start()
    assert not Broker(tmp_path).running


def test_a_broker_never_started_has_no_address(tmp_path):
    with pytest.raises(JobError, match="never started"):
        _ = Broker(tmp_path).bootstrap

"""A stream killed at any step and started again: nothing lost, doubled, or paid for twice."""

import json
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from random import Random

import pytest
from deltalake import DeltaTable
from killing import killed_at
from rounds import ROUNDS, long

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.broker import Broker
from jobs.producer import Record, produce

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
MESSAGES = 12
KILLS = [
    ("micro_batch-before", None),
    ("target-before", 2000),
    ("target-after", 2000),
    ("journal-after", 1100),
][:: 1 if ROUNDS else 2]

KILLED_AT = killed_at(
    "from jobs import stream_target; from udfs import journal, taking",
    {
        "journal": "journal.Journal.finish",
        "target": "stream_target.StreamTarget._add",
        "micro_batch": "stream_target.StreamTarget.write",
        "ledger": "taking.Taking._take",
    },
)


@pytest.fixture
def topic():
    return f"killed-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def conf(tmp_path, topic):
    """Return settings of a stream over messages that carry their key."""
    path = tmp_path / "stream.yml"
    path.write_text(
        f"source: {{kafka: {{topic: {topic}, bootstrap: none, schema: 'id string, body string'}}, "
        "columns: {document: body}}\n"
        "target: {table: ./target, mode: append}\n"
        "chain: {name: summarize, model: endpoint:fake/m}\n"
        "ledger: {table: ./ledger}\n"
        "checkpoint: ./checkpoint\n"
    )
    return path


def messages(first, count):
    for i in range(first, first + count):
        document = {"id": f"r{i:03d}", "body": f"key=r{i:03d} text"}
        yield Record(document["id"].encode(), json.dumps(document).encode(), 1_700_000_000_000)


def start(command, conf, broker, endpoint, *more):
    """Start a stream in a process group of its own."""
    given = [
        f"source.kafka.bootstrap={broker.bootstrap}",
        f"endpoints.fake={{base_url: '{endpoint.base_url}', attempts: 1, concurrency: 2}}",
        "on_outage=wait",
    ]
    sets = [it for assignment in given for it in ("--set", assignment)]
    with (
        (conf.parent / "printed.json").open("w") as printed,
        (conf.parent / "log").open("a") as log,
    ):
        return subprocess.Popen(
            [*command, "stream", str(conf), *sets, *more],
            cwd=conf.parent,
            start_new_session=True,
            stdout=printed,
            stderr=log,
        )


def run_killed(step, conf, broker, endpoint, tokens=None):
    """Run a stream over what is there until it is killed at a step."""
    command = [sys.executable, "-c", KILLED_AT, step]
    running = start(command, conf, broker, endpoint, "--available-now", *limit(tokens))
    assert running.wait(300) == -signal.SIGKILL


def limit(tokens):
    """Return the setting that cuts micro-batches; a prompt and its answer take some 350 tokens."""
    return [] if tokens is None else ["--set", f"max_tokens_per_batch={tokens}"]


def check_whole(folder, count):
    """Every message is once in the target, with its own answer, and in no dead letter."""
    rows = DeltaTable(f"{folder}/target").to_pyarrow_table().to_pylist()
    assert sorted(row["kafka_key"] for row in rows) == [f"r{i:03d}" for i in range(count)]
    assert all(f"answer to {row['kafka_key']}:" in row["result"] for row in rows)
    assert not Path(folder, "target_errors").exists()


def test_killed_at_each_step_of_a_micro_batch_it_goes_on_there(conf, broker, topic, tmp_path):
    """From the journal on, nothing is asked again; Delta skips what has landed.

    Also where the micro-batch is cut in slices by then, or in others.
    """
    produce(broker.bootstrap, topic, messages(0, MESSAGES), partitions=2)
    with FakeEndpoint() as endpoint:
        for step, tokens in KILLS:
            run_killed(step, conf, broker, endpoint, tokens)
        last = start(COMMAND, conf, broker, endpoint, "--available-now", "--json")
        assert last.wait(300) == 0
        assert len(endpoint.calls()) == MESSAGES
    check_whole(tmp_path, MESSAGES)


def test_asked_to_stop_it_ends_its_micro_batch_first(conf, broker, topic, tmp_path):
    produce(broker.bootstrap, topic, messages(0, MESSAGES), partitions=2)
    with FakeEndpoint(FakeSettings(latency=0.3)) as endpoint:
        running = start(COMMAND, conf, broker, endpoint, "--json")
        endpoint.wait_for(lambda calls: len(calls) >= 2, timeout=120)
        running.send_signal(signal.SIGTERM)
        assert running.wait(300) == 0
        printed = json.loads((tmp_path / "printed.json").read_text())
        assert printed["new"] == len(endpoint.calls()) == MESSAGES
    check_whole(tmp_path, MESSAGES)


@long
def test_a_broker_killed_and_started_again_loses_nothing(conf, topic, tmp_path):
    with Broker(tmp_path / "kafka") as broker, FakeEndpoint() as endpoint:
        produce(broker.bootstrap, topic, messages(0, 4), partitions=2)
        running = start(COMMAND, conf, broker, endpoint, "--json")
        endpoint.wait_for(lambda calls: len(calls) >= 4, timeout=120)
        broker.kill()
        broker.start()
        produce(broker.bootstrap, topic, messages(4, MESSAGES - 4))
        endpoint.wait_for(lambda calls: len(calls) >= MESSAGES, timeout=180)
        running.send_signal(signal.SIGTERM)
        assert running.wait(300) == 0
        assert len(endpoint.calls()) == MESSAGES
    check_whole(tmp_path, MESSAGES)


@long
def test_killed_at_random_again_and_again(conf, broker, topic, tmp_path):
    """Re-paid for a kill is at most the micro-batch that was being asked."""
    random, sent = Random(7), 0
    steps = [f"{name}-{when}" for name in ("journal", "target", "micro_batch", "ledger")
             for when in ("before", "after")]  # fmt: skip
    with FakeEndpoint() as endpoint:
        for _ in range(ROUNDS):
            count = random.randint(1, MESSAGES)
            produce(broker.bootstrap, topic, messages(sent, count), partitions=2)
            sent += count
            tokens = random.choice([None, None, 500, 1100, 2000])
            run_killed(random.choice(steps), conf, broker, endpoint, tokens)
        last = start(COMMAND, conf, broker, endpoint, "--available-now", "--json")
        assert last.wait(300) == 0
        assert len(endpoint.calls()) == sent
    check_whole(tmp_path, sent)

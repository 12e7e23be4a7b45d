"""The stream command under faults, over a real broker: each point has a topic of its own."""

import json
import os
import signal
import sys
import uuid

import pytest
from disturbed import (
    IN_FLIGHT,
    KEYS,
    SLOTS,
    Job,
    answered,
    asked,
    kill_all,
    points,
    worker_of,
)
from killing import killed_at, lost_answer
from rounds import ROUNDS, long
from tally import TALLIES, rows_of

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.producer import Record, produce

pytestmark = [pytest.mark.process, long]

COMMAND = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
SETTINGS = """
source:
  kafka: {{topic: {topic}, bootstrap: "{bootstrap}", schema: "id string, body string"}}
  columns: {{document: body}}
target: {{table: ./target, mode: append, keep: [id]}}
chain: {{name: summarize, model: endpoint:fake/m}}
endpoints: {{fake: {{base_url: "{url}", concurrency: {slots}, attempts: 1}}}}
ledger: {{table: ./ledger}}
checkpoint: ./checkpoint
spark: {{master: "{master}"}}
"""
STEPS = {
    "target": "(stream_target.StreamTarget, '_add')",
    "micro_batch": "(stream_target.StreamTarget, 'write')",
    "journal": "(journal.Journal, 'finish')",
    "ledger": "(taking.Taking, '_take')",
}
OWNERS = "{" + ", ".join(f"{step!r}: {owner}" for step, owner in STEPS.items()) + "}"
IMPORTS = "from jobs import stream_target; from udfs import delta, journal, taking"
KILLED_AT = (sys.executable, "-c", killed_at(IMPORTS, OWNERS))
LOST_AT = (sys.executable, "-c", lost_answer(IMPORTS, "{'commit': (delta.Table, 'append')}"))


class Stream(Job):
    """A stream over what a topic has, which stops at its end."""

    def __init__(self, folder, endpoint, broker, *, master="local[2]"):
        super().__init__(folder, COMMAND, ["stream", "stream.yml", "--available-now"])
        folder.mkdir()
        self.endpoint, topic = endpoint, f"faults-{uuid.uuid4().hex[:8]}"
        given = {"url": endpoint.base_url, "bootstrap": broker.bootstrap, "slots": SLOTS}
        text = SETTINGS.format(topic=topic, master=master, **given)
        (folder / "stream.yml").write_text(text)
        produce(broker.bootstrap, topic, map(message, KEYS), partitions=2)

    def count(self, tally, in_flight):
        rows = rows_of(self.folder / "target")
        tally.add(KEYS, rows, self.endpoint.calls(), in_flight)


def message(key):
    document = {"id": key, "body": f"key={key} text"}
    return Record(key.encode(), json.dumps(document).encode(), 1_700_000_000_000)


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_message(tmp_path, broker, reached):
    """With its JVM and its workers, as a machine that goes away."""
    tally = TALLIES.of(f"stream: driver and workers killed, n-th message {reached.__name__}")
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Stream(tmp_path / str(point), endpoint, broker)
            killed = job.start()
            endpoint.wait_for(reached(number), timeout=300)
            kill_all(killed)
            job.finish()
            job.count(tally, IN_FLIGHT)
    assert tally.is_clean, tally


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, broker, step, when):
    """What was journalled is not asked again."""
    tally = TALLIES.of(f"stream: driver killed {when} the {step}'s commit")
    for point in range(max(1, ROUNDS // 4)):
        with FakeEndpoint() as endpoint:
            job = Stream(tmp_path / str(point), endpoint, broker)
            job.killed(*KILLED_AT, f"{step}-{when}")
            job.finish()
            job.count(tally, in_flight=0)
    assert tally.is_clean, tally


def test_a_commit_lands_and_its_answer_is_lost(tmp_path, broker):
    tally = TALLIES.of("stream: the target's commit lands, its answer is lost")
    with FakeEndpoint() as endpoint:
        job = Stream(tmp_path / "job", endpoint, broker)
        assert job.start(*LOST_AT, "commit").wait(300) == 1
        job.finish()
        job.count(tally, in_flight=0)
    assert tally.is_clean, tally


def test_a_python_worker_is_killed_and_spark_tries_its_task_again(tmp_path, broker):
    tally = TALLIES.of("stream: Python worker killed, n-th message asked")
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Stream(tmp_path / str(point), endpoint, broker, master="local[2,4]")
            running = job.start()
            endpoint.wait_for(asked(number), timeout=300)
            os.kill(worker_of(running.pid), signal.SIGKILL)
            job.ends(running)
            job.count(tally, SLOTS)
    assert tally.is_clean, tally

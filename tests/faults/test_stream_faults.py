"""The stream command under faults, over a real broker: each point has a topic of its own."""

import json
import sys
import uuid

import pytest
from disturbed import (
    KEYS,
    Job,
    answer_lost,
    answered,
    asked,
    at_an_endpoint,
    drivers_killed_at_a_step,
    drivers_killed_at_requests,
    workers_killed_at_requests,
)
from killing import killed_at, lost_answer
from rounds import long
from tally import TALLIES

from jobs.producer import Record, produce

pytestmark = [pytest.mark.process, long]

SETTINGS = """
source:
  kafka: {{topic: {topic}, bootstrap: "{bootstrap}", schema: "id string, body string"}}
  columns: {{document: body}}
target: {{table: ./target, mode: append, keep: [id]}}
ledger: {{table: ./ledger}}
checkpoint: ./checkpoint
spark: {{master: "{master}"}}
"""
STEPS = {
    "target": "stream_target.StreamTarget._add",
    "micro_batch": "stream_target.StreamTarget.write",
    "journal": "journal.Journal.finish",
    "ledger": "taking.Taking._take",
}
IMPORTS = "from jobs import stream_target; from udfs import delta, journal, taking"
KILLED_AT = (sys.executable, "-c", killed_at(IMPORTS, STEPS))
LOST_AT = (sys.executable, "-c", lost_answer(IMPORTS, {"commit": "delta.Table.append"}))


class Stream(Job):
    """A stream over what a topic has, which stops at its end."""

    def __init__(self, folder, endpoint, broker, *, master="local[2]"):
        super().__init__(folder, ["stream", "stream.yml", "--available-now"], endpoint)
        folder.mkdir()
        topic = f"faults-{uuid.uuid4().hex[:8]}"
        text = SETTINGS.format(topic=topic, master=master, bootstrap=broker.bootstrap)
        (folder / "stream.yml").write_text(text + at_an_endpoint(endpoint))
        produce(broker.bootstrap, topic, map(message, KEYS), partitions=2)


def message(key):
    document = {"id": key, "body": f"key={key} text"}
    return Record(key.encode(), json.dumps(document).encode(), 1_700_000_000_000)


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_message(tmp_path, broker, reached):
    """With its JVM and its workers, as a machine that goes away."""
    tally = TALLIES.of(f"stream: driver and workers killed, n-th message {reached.__name__}")
    drivers_killed_at_requests(tally, reached, lambda name, it: Stream(tmp_path / name, it, broker))
    assert tally.is_clean, tally


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, broker, step, when):
    """What was journalled is not asked again."""
    tally = TALLIES.of(f"stream: driver killed {when} the {step}'s commit")
    program = (*KILLED_AT, f"{step}-{when}")
    drivers_killed_at_a_step(tally, program, lambda name, it: Stream(tmp_path / name, it, broker))
    assert tally.is_clean, tally


def test_a_commit_lands_and_its_answer_is_lost(tmp_path, broker):
    tally = TALLIES.of("stream: the target's commit lands, its answer is lost")
    program = (*LOST_AT, "commit")
    answer_lost(tally, program, lambda name, it: Stream(tmp_path / name, it, broker))
    assert tally.is_clean, tally


def test_a_python_worker_is_killed_and_spark_tries_its_task_again(tmp_path, broker):
    tally = TALLIES.of("stream: Python worker killed, n-th message asked")
    workers_killed_at_requests(
        tally, lambda name, it: Stream(tmp_path / name, it, broker, master="local[2,4]")
    )
    assert tally.is_clean, tally

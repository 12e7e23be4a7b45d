"""The stream command under faults, over a real broker."""

import json
import signal
import sys
import uuid

import pytest
from disturbed import (
    ALL_ASKED,
    IMPORTS,
    IN_FLIGHT,
    SLOTS,
    TASKS_MAY_FAIL,
    Job,
    answered,
    asked,
    at_an_endpoint,
    disturbed_at_a_step,
    driver_killed_at_requests,
    worker_killed_at_requests,
)
from killing import killed_at, lost_answer
from rounds import ROUNDS, long

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
STEPS_OF = f"{IMPORTS}; from jobs import stream_target; from udfs import delta, journal, taking"
KILLED_AT = (sys.executable, "-c", killed_at(STEPS_OF, STEPS, ALL_ASKED))
LOST_AT = (sys.executable, "-c", lost_answer(STEPS_OF, {"commit": "delta.Table.append"}, ALL_ASKED))


class Stream(Job):
    """A stream over what a topic of its own has, which stops at its end."""

    def __init__(self, folder, endpoint, broker, *, master="local[2]"):
        super().__init__(folder, ["stream", "stream.yml", "--available-now"], endpoint)
        self.bootstrap, self.topic = broker.bootstrap, f"faults-{uuid.uuid4().hex[:8]}"
        text = SETTINGS.format(topic=self.topic, master=master, bootstrap=self.bootstrap)
        (folder / "stream.yml").write_text(text + at_an_endpoint(endpoint))

    def add(self, keys):
        produce(self.bootstrap, self.topic, map(message, keys), partitions=2)


def message(key):
    document = {"id": key, "body": f"key={key} text"}
    return Record(key.encode(), json.dumps(document).encode(), 1_700_000_000_000)


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_message(tmp_path, endpoint, broker, reached):
    """With its JVM; its workers find out for themselves."""
    driver_killed_at_requests(job := Stream(tmp_path, endpoint, broker), reached)
    job.checked(f"stream: driver killed, n-th message {reached.__name__}", in_flight=IN_FLIGHT)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, endpoint, broker, step, when):
    """What was journalled is not asked again."""
    job, program = Stream(tmp_path, endpoint, broker), (*KILLED_AT, f"{step}-{when}")
    disturbed_at_a_step(job, program, -signal.SIGKILL, points=ROUNDS // 2)
    job.checked(f"stream: driver killed {when} the {step}'s commit", in_flight=0)


def test_a_commit_lands_and_its_answer_is_lost(tmp_path, endpoint, broker):
    job = Stream(tmp_path, endpoint, broker)
    disturbed_at_a_step(job, (*LOST_AT, "commit"), code=1, points=ROUNDS // 2)
    job.checked("stream: the target's commit lands, its answer is lost", in_flight=0)


def test_python_workers_are_killed_and_spark_tries_their_tasks_again(tmp_path, endpoint, broker):
    job = Stream(tmp_path, endpoint, broker, master=TASKS_MAY_FAIL)
    worker_killed_at_requests(job)
    job.checked("stream: Python worker killed, n-th message asked", in_flight=SLOTS)

"""The batch command under faults; the endpoint's own ledger is the oracle.

A point is a step that can be repeated: the n-th request, the n-th answer, before or after a commit.
"""

import os
import signal
import sys

import pytest
from deltalake import write_deltalake
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
    documents,
    driver_killed_at_requests,
    executors_of,
    killed_while_it_runs,
    left_of,
    numbers,
    rows_for_kills,
    two_at_once,
    worker_killed_at_requests,
)
from ending import wait_until
from killing import killed_at, lost_answer
from rounds import ROUNDS, long

from chains.models.fake.endpoint import read_pay_ledger
from jobs import jvm

pytestmark = [pytest.mark.process, long]

SETTINGS = """
source: {{table: ./source, key: id, columns: {{document: body}}}}
target: {{table: ./target, mode: {mode}}}
ledger: {{table: ./ledger}}
spark: {{master: "{master}", conf: {conf}}}
"""
BESIDE_EXECUTORS = """
chain: {{name: summarize, model: "path:{model}", engine: sidecar}}
sidecar: {{kind: command, command: [sh, -c, "{command}"], concurrency: {slots}}}
"""
SERVER = (
    "exec {{python}} -m chains.models.fake.endpoint --port {{port}} --api-key {{token}} "
    "--latency 0.05 --pay-ledger {folder}/pay/$$.jsonl"
)
STEPS = {
    "journal": "journal.Journal.finish",
    "ledger": "ledger.Ledger.take",
    "target": "targets.Target._write_answers",
}
STEPS_OF = f"{IMPORTS}; from jobs import targets; from udfs import journal, ledger"
KILLED_AT = (sys.executable, "-c", killed_at(STEPS_OF, STEPS, ALL_ASKED))
LOST_AT = (sys.executable, "-c", lost_answer(STEPS_OF, STEPS, ALL_ASKED))


class Batch(Job):
    """A batch over rows that carry their key; `asks` are the settings of chain and model."""

    def __init__(self, folder, asks, endpoint=None, *, master="local[2]", mode="append", conf=None):
        super().__init__(folder, ["batch", "job.yml"], endpoint)
        text = SETTINGS.format(master=master, mode=mode, conf=conf or {})
        (folder / "job.yml").write_text(text + asks)

    def add(self, keys):
        write_deltalake(self.folder / "source", documents(keys), mode="append")


class Remote(Batch):
    """A batch that asks an endpoint."""

    def __init__(self, folder, endpoint, **options):
        super().__init__(folder, at_an_endpoint(endpoint), endpoint, **options)


class Local(Batch):
    """A batch that asks a server beside its executor; each has a pay-ledger, named by its pid."""

    def __init__(self, folder, model, **options):
        command = SERVER.format(folder=folder)
        asks = BESIDE_EXECUTORS.format(model=model, command=command, slots=SLOTS)
        super().__init__(folder, asks, **options)
        (folder / "pay").mkdir()

    def ledgers(self):
        return sorted((self.folder / "pay").iterdir(), key=lambda it: it.stat().st_mtime)

    def calls(self):
        return [call for it in self.ledgers() for call in read_pay_ledger(it)]


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_request(tmp_path, endpoint, reached):
    """With its JVM; its workers find out for themselves."""
    driver_killed_at_requests(job := Remote(tmp_path, endpoint), reached)
    job.checked(f"batch: driver killed, n-th row {reached.__name__}", in_flight=IN_FLIGHT)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, endpoint, step, when):
    """What was journalled is not asked again."""
    job, program = Remote(tmp_path, endpoint), (*KILLED_AT, f"{step}-{when}")
    disturbed_at_a_step(job, program, -signal.SIGKILL, points=ROUNDS // 2)
    job.checked(f"batch: driver killed {when} the {step}'s commit", in_flight=0)


@pytest.mark.parametrize("step", ["ledger", "target"])
@pytest.mark.parametrize("mode", ["append", "merge", "overwrite"])
def test_a_commit_lands_and_its_answer_is_lost(tmp_path, endpoint, step, mode):
    job = Remote(tmp_path, endpoint, mode=mode)
    disturbed_at_a_step(job, (*LOST_AT, step), code=1, points=ROUNDS // 4)
    job.checked(f"batch, {mode}: the {step}'s commit lands, its answer is lost", in_flight=0)


def test_python_workers_are_killed_and_spark_tries_their_tasks_again(tmp_path, endpoint):
    job = Remote(tmp_path, endpoint, master=TASKS_MAY_FAIL)
    worker_killed_at_requests(job)
    job.checked("batch: Python worker killed, n-th row asked", in_flight=SLOTS)


def test_executors_are_killed_and_others_go_on(tmp_path, endpoint):
    conf = {
        "spark.executor.extraClassPath": f"{jvm.jars()}/*",
        "spark.executor.memory": "1g",
        "spark.task.maxFailures": ROUNDS + 1,
        "spark.stage.maxConsecutiveAttempts": ROUNDS + 1,
    }
    job = Remote(tmp_path, endpoint, master="local-cluster[2,1,1024]", conf=conf)
    job.grow(rows_for_kills())
    running = job.start()

    def kill():
        both = wait_until(lambda: len(found := executors_of(running.pid)) == 2 and found, 300)
        os.kill(both[len(job.kills) % 2], signal.SIGKILL)

    killed_while_it_runs(job, kill)
    job.ends(running)
    assert left_of(running.pid) == {}
    job.checked("batch, two executors: one killed, n-th row asked", in_flight=SLOTS)


def test_two_runs_at_once(tmp_path, endpoint):
    """One answers; the other one waits, and then writes the same target or says that it cannot."""
    two_at_once(job := Remote(tmp_path, endpoint))
    job.checked("batch: two runs at once", in_flight=0)


def test_a_model_server_is_killed_and_started_again(tmp_path, tiny_model):
    job = Local(tmp_path, tiny_model)
    job.grow()
    for number in numbers():
        before, servers = len(job.calls()), len(job.ledgers())
        running = job.start()
        wait_until(lambda: len(job.calls()) >= before + number, 300)  # noqa: B023
        os.kill(int(job.ledgers()[-1].stem), signal.SIGKILL)
        job.ends(running)
        assert len(job.ledgers()) == servers + 2
        job.was_disturbed()
    job.finish()
    job.checked("batch, sidecar: model server killed, n-th row asked", in_flight=IN_FLIGHT)

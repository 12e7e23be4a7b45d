"""The batch command under faults: each point a folder of its own, the endpoint's ledger the oracle.

A point is a step that can be repeated: the n-th request, the n-th answer, before or after a commit.
"""

import os
import signal
import sys

import pytest
from deltalake import write_deltalake
from disturbed import (
    IN_FLIGHT,
    KEYS,
    SLOTS,
    Job,
    answer_lost,
    answered,
    asked,
    at_an_endpoint,
    documents,
    drivers_killed_at_a_step,
    drivers_killed_at_requests,
    executors_of,
    left_of,
    points,
    workers_killed_at_requests,
)
from ending import wait_until
from killing import killed_at, lost_answer
from rounds import ROUNDS, long
from tally import TALLIES

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings, read_pay_ledger
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
    "target": "delta.Table._write",
}
IMPORTS = "from udfs import delta, journal, ledger"
KILLED_AT = (sys.executable, "-c", killed_at(IMPORTS, STEPS))
LOST_AT = (sys.executable, "-c", lost_answer(IMPORTS, STEPS))


class Batch(Job):
    """A batch over rows that carry their key; `asks` are the settings of chain and model."""

    def __init__(self, folder, asks, endpoint=None, *, master="local[2]", mode="append", conf=None):
        super().__init__(folder, ["batch", "job.yml"], endpoint)
        folder.mkdir()
        text = SETTINGS.format(master=master, mode=mode, conf=conf or {})
        (folder / "job.yml").write_text(text + asks)
        write_deltalake(folder / "source", documents(KEYS))


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
def test_the_driver_is_killed_at_a_request(tmp_path, reached):
    """With its JVM and its workers, as a machine that goes away."""
    tally = TALLIES.of(f"batch: driver and workers killed, n-th row {reached.__name__}")
    drivers_killed_at_requests(tally, reached, lambda name, it: Remote(tmp_path / name, it))
    assert tally.is_clean, tally


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, step, when):
    """What was journalled is not asked again."""
    tally = TALLIES.of(f"batch: driver killed {when} the {step}'s commit")
    program = (*KILLED_AT, f"{step}-{when}")
    drivers_killed_at_a_step(tally, program, lambda name, it: Remote(tmp_path / name, it))
    assert tally.is_clean, tally


@pytest.mark.parametrize("step", ["ledger", "target"])
@pytest.mark.parametrize("mode", ["append", "merge", "overwrite"])
def test_a_commit_lands_and_its_answer_is_lost(tmp_path, step, mode):
    tally = TALLIES.of(f"batch, {mode}: the {step}'s commit lands, its answer is lost")
    program = (*LOST_AT, step)
    answer_lost(tally, program, lambda name, it: Remote(tmp_path / name, it, mode=mode))
    assert tally.is_clean, tally


def test_a_python_worker_is_killed_and_spark_tries_its_task_again(tmp_path):
    tally = TALLIES.of("batch: Python worker killed, n-th row asked")
    workers_killed_at_requests(
        tally, lambda name, it: Remote(tmp_path / name, it, master="local[2,4]")
    )
    assert tally.is_clean, tally


def test_an_executor_is_killed_and_another_one_goes_on(tmp_path):
    tally = TALLIES.of("batch, two executors: one killed, n-th row asked")
    conf = {
        "spark.executor.extraClassPath": f"{jvm.jars()}/*",
        "spark.executor.memory": "1g",
    }
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Remote(
                tmp_path / str(point), endpoint, master="local-cluster[2,1,1024]", conf=conf
            )
            running = job.start()
            endpoint.wait_for(asked(number), timeout=300)
            os.kill(executors_of(running.pid)[point % 2], signal.SIGKILL)
            job.ends(running)
            job.count(tally, SLOTS)
            assert left_of(running.pid) == {}
    assert tally.is_clean, tally


def test_two_runs_at_once(tmp_path):
    """One answers; the other one waits, and then writes the same target or says that it cannot."""
    tally = TALLIES.of("batch: two runs at once")
    for point in range(max(1, ROUNDS // 2)):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Remote(tmp_path / str(point), endpoint)
            codes = [it.wait(300) for it in (job.start(), job.start())]
            assert 0 in codes
            assert set(codes) <= {0, 1}
            job.finish()
            job.count(tally, in_flight=0)
    assert tally.is_clean, tally


def test_a_model_server_is_killed_and_started_again(tmp_path, tiny_model):
    tally = TALLIES.of("batch, sidecar: model server killed, n-th row asked")
    for point, number in enumerate(points()):
        job = Local(tmp_path / str(point), tiny_model)
        running = job.start()
        wait_until(lambda: len(job.calls()) >= number, 300)  # noqa: B023
        os.kill(int(job.ledgers()[-1].stem), signal.SIGKILL)
        job.ends(running)
        assert len(job.ledgers()) == 2
        job.count(tally, IN_FLIGHT)
    assert tally.is_clean, tally

"""The batch command under faults: each point a folder of its own, the endpoint's ledger the oracle.

A point is a step that can be repeated: the n-th request, the n-th answer, before or after a commit.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from select import select

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from killing import killed_at, lost_answer
from rounds import ROUNDS, long
from tally import TALLIES, rows_of

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs import jvm

pytestmark = [pytest.mark.process, long]

COMMAND = (str(Path(sys.executable).parent / "gristmill"),)
ROWS = 24
SLOTS, WORKERS = 2, 2
IN_FLIGHT = SLOTS * WORKERS
KEYS = [f"r{i:02d}" for i in range(ROWS)]
SETTINGS = """
source: {{table: ./source, key: id, columns: {{document: body}}}}
target: {{table: ./target, mode: {mode}}}
chain: {{name: summarize, model: endpoint:fake/m}}
endpoints: {{fake: {{base_url: "{url}", concurrency: {slots}, attempts: 1}}}}
ledger: {{table: ./ledger}}
spark: {{master: "{master}", conf: {conf}}}
"""
STEPS = {
    "journal": "(journal.Journal, 'finish')",
    "ledger": "(ledger.Ledger, 'take')",
    "target": "(delta.Table, '_write')",
}
OWNERS = "{" + ", ".join(f"{step!r}: {owner}" for step, owner in STEPS.items()) + "}"
IMPORTS = "from udfs import delta, journal, ledger"
KILLED_AT = (sys.executable, "-c", killed_at(IMPORTS, OWNERS))
LOST_AT = (sys.executable, "-c", lost_answer(IMPORTS, OWNERS))


class Job:
    """A batch over rows that carry their key, in a folder, as a command of its own."""

    def __init__(self, folder, endpoint, *, master="local[2]", mode="append", conf=None):
        folder.mkdir()
        self.folder, self.endpoint = folder, endpoint
        given = {"url": endpoint.base_url, "slots": SLOTS, "conf": conf or {}}
        text = SETTINGS.format(master=master, mode=mode, **given)
        (folder / "job.yml").write_text(text)
        bodies = [f"key={key} text" for key in KEYS]
        write_deltalake(folder / "source", pa.table({"id": KEYS, "body": bodies}))

    def start(self, *command):
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [*(command or COMMAND), "batch", "job.yml"],
                cwd=self.folder,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def finish(self):
        """Run it once more; that has to succeed."""
        assert self.start().wait(300) == 0, (self.folder / "log").read_text()[-3000:]

    def count(self, tally, in_flight):
        rows = rows_of(self.folder / "target")
        tally.add(KEYS, rows, self.endpoint.calls(), in_flight)


def points():
    """Return numbers of requests to kill at, spread over the run."""
    return [1 + (7 * i) % (ROWS - 1) for i in range(ROUNDS)]


def asked(number):
    return lambda calls: len(calls) >= number


def answered(number):
    return lambda calls: sum(call.finished is not None for call in calls) >= number


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_request(tmp_path, reached):
    """With its JVM and its workers, as a machine that goes away."""
    tally = TALLIES.of(f"batch: driver and workers killed, n-th row {reached.__name__}")
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Job(tmp_path / str(point), endpoint)
            killed = job.start()
            endpoint.wait_for(reached(number), timeout=300)
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait(60)
            job.finish()
            job.count(tally, IN_FLIGHT)
    assert tally.is_clean, tally


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, step, when):
    """What was journalled is not asked again."""
    tally = TALLIES.of(f"batch: driver killed {when} the {step}'s commit")
    for point in range(max(1, ROUNDS // 4)):
        with FakeEndpoint() as endpoint:
            job = Job(tmp_path / str(point), endpoint)
            assert job.start(*KILLED_AT, f"{step}-{when}").wait(300) == -signal.SIGKILL
            job.finish()
            job.count(tally, in_flight=0)
    assert tally.is_clean, tally


@pytest.mark.parametrize("step", ["ledger", "target"])
@pytest.mark.parametrize("mode", ["append", "merge", "overwrite"])
def test_a_commit_lands_and_its_answer_is_lost(tmp_path, step, mode):
    tally = TALLIES.of(f"batch, {mode}: the {step}'s commit lands, its answer is lost")
    with FakeEndpoint() as endpoint:
        job = Job(tmp_path / "job", endpoint, mode=mode)
        assert job.start(*LOST_AT, step).wait(300) == 1
        job.finish()
        job.count(tally, in_flight=0)
    assert tally.is_clean, tally


def test_a_python_worker_is_killed_and_spark_tries_its_task_again(tmp_path):
    tally = TALLIES.of("batch: Python worker killed, n-th row asked")
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Job(tmp_path / str(point), endpoint, master="local[2,4]")
            running = job.start()
            endpoint.wait_for(asked(number), timeout=300)
            os.kill(worker_of(running.pid), signal.SIGKILL)
            assert running.wait(300) == 0, (job.folder / "log").read_text()[-3000:]
            job.count(tally, SLOTS)
    assert tally.is_clean, tally


def test_an_executor_is_killed_and_another_one_goes_on(tmp_path):
    tally = TALLIES.of("batch, two executors: one killed, n-th row asked")
    conf = {
        "spark.executor.extraClassPath": f"{jvm.jars()}/*",
        "spark.executor.memory": "1g",
    }
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Job(tmp_path / str(point), endpoint, master="local-cluster[2,1,1024]", conf=conf)
            running = job.start()
            endpoint.wait_for(asked(number), timeout=300)
            os.kill(executors_of(running.pid)[point % 2], signal.SIGKILL)
            assert running.wait(300) == 0, (job.folder / "log").read_text()[-3000:]
            job.count(tally, SLOTS)
            assert left_of(running.pid) == {}
    assert tally.is_clean, tally


def test_two_runs_at_once(tmp_path):
    """One answers; the other one waits, and then writes the same target or says that it cannot."""
    tally = TALLIES.of("batch: two runs at once")
    for point in range(max(1, ROUNDS // 2)):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = Job(tmp_path / str(point), endpoint)
            codes = [it.wait(300) for it in (job.start(), job.start())]
            assert 0 in codes
            assert set(codes) <= {0, 1}
            job.finish()
            job.count(tally, in_flight=0)
    assert tally.is_clean, tally


def processes_of(session):
    """Return the command lines of a session's processes, by pid; see proc(5)."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(status.parent.name)] = command
    return found


def left_of(session):
    """Return the processes of a session that do not end; the JVM ends after its command."""
    for pid in processes_of(session):
        with suppress(ProcessLookupError):
            select([os.pidfd_open(pid)], [], [], 60)
    return processes_of(session)


def worker_of(session):
    """Return the pid of a worker: a `pyspark.daemon` forked from one."""
    daemons = [pid for pid, it in processes_of(session).items() if "pyspark.daemon" in it]
    return max(daemons)


def executors_of(session):
    found = processes_of(session).items()
    return sorted(pid for pid, it in found if "CoarseGrainedExecutorBackend" in it)

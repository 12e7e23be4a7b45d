"""Jobs as commands of their own that are killed at a step, and what they left behind."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from select import select

import pyarrow as pa
from rounds import FIRST, ROUNDS
from tally import rows_of

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings

ROWS = 24
SLOTS, WORKERS = 2, 2
IN_FLIGHT = SLOTS * WORKERS
COMMAND = (str(Path(sys.executable).parent / "gristmill"),)
KEYS = [f"r{i:02d}" for i in range(ROWS)]
_AT_AN_ENDPOINT = """
chain: {{name: summarize, model: endpoint:fake/m}}
endpoints: {{fake: {{base_url: "{url}", concurrency: {slots}, attempts: 1}}}}
"""


class Job:
    """A command over rows that carry their key, in a folder; `words` follow `gristmill`."""

    def __init__(self, folder, words, endpoint=None):
        self.folder, self.words = folder, words
        self.endpoint = endpoint

    def calls(self):
        """Return what was asked, as the endpoint's own ledger has it."""
        return self.endpoint.calls()

    def count(self, tally, in_flight):
        """Add what it left behind to a tally."""
        tally.add(KEYS, rows_of(self.folder / "target"), self.calls(), in_flight)

    def start(self, *program):
        """Start it in a process group of its own, by another program where one is given."""
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [*(program or COMMAND), *self.words],
                cwd=self.folder,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def finish(self):
        """Run it once more; that has to succeed."""
        self.ends(self.start())

    def ends(self, running):
        """Wait for a run, which has to succeed."""
        assert running.wait(300) == 0, (self.folder / "log").read_text()[-3000:]

    def killed(self, *program):
        """Run it by a program that kills itself."""
        code = self.start(*program).wait(300)
        assert code == -signal.SIGKILL, (self.folder / "log").read_text()[-3000:]


def documents(keys):
    """Return the rows of a source."""
    return pa.table({"id": keys, "body": [f"key={key} text" for key in keys]})


def at_an_endpoint(endpoint):
    """Return the settings of a job that asks an endpoint, each row once."""
    return _AT_AN_ENDPOINT.format(url=endpoint.base_url, slots=SLOTS)


def points():
    """Return numbers of requests to kill at, spread over the run."""
    return [1 + (7 * i) % (ROWS - 1) for i in range(FIRST, FIRST + ROUNDS)]


def asked(number):
    """Return whether the endpoint was asked so often, for `FakeEndpoint.wait_for`."""
    return lambda calls: len(calls) >= number


def answered(number):
    """Return whether it has answered so often."""
    return lambda calls: sum(call.finished is not None for call in calls) >= number


def drivers_killed_at_requests(tally, reached, make):
    """Kill jobs with their JVM and workers, as machines that go away; each is run once more.

    `make(name, endpoint)` gives the job of a point.
    """
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = make(str(point), endpoint)
            killed = job.start()
            endpoint.wait_for(reached(number), timeout=300)
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait(60)
            job.finish()
            job.count(tally, IN_FLIGHT)


def drivers_killed_at_a_step(tally, program, make):
    """Run jobs by a program that kills itself after their answers; each is run once more."""
    for point in range(max(1, ROUNDS // 4)):
        with FakeEndpoint() as endpoint:
            job = make(str(point), endpoint)
            job.killed(*program)
            job.finish()
            job.count(tally, in_flight=0)


def answer_lost(tally, program, make):
    """Run a job by a program in which a commit lands and fails after it; it is run once more."""
    with FakeEndpoint() as endpoint:
        job = make("job", endpoint)
        assert job.start(*program).wait(300) == 1
        job.finish()
        job.count(tally, in_flight=0)


def workers_killed_at_requests(tally, make, reached=asked):
    """Kill a Python worker of each job, which has to go on."""
    for point, number in enumerate(points()):
        with FakeEndpoint(FakeSettings(latency=0.05)) as endpoint:
            job = make(str(point), endpoint)
            running = job.start()
            endpoint.wait_for(reached(number), timeout=300)
            os.kill(worker_of(running.pid), signal.SIGKILL)
            job.ends(running)
            job.count(tally, SLOTS)


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
    return max(pid for pid, it in processes_of(session).items() if "pyspark.daemon" in it)


def executors_of(session):
    """Return the pids of a session's executors."""
    found = processes_of(session).items()
    return sorted(pid for pid, it in found if "CoarseGrainedExecutorBackend" in it)

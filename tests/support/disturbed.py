"""Jobs as commands of their own that are killed again and again, and what they left behind.

A job gets rows, is killed at a step, gets more, is killed again, and at last runs to its end: what
one kill left has to survive the next ones too.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from select import select
from urllib.parse import urlsplit

import psutil
import pyarrow as pa
from ending import wait_until
from rounds import ROUNDS
from tally import TALLIES, rows_of

COMMAND = (str(Path(sys.executable).parent / "gristmill"),)
SLOTS, WORKERS = 2, 2
IN_FLIGHT = SLOTS * WORKERS
SHARE = 12  # rows that come between two kills
APART = 3 * IN_FLIGHT  # calls between kills of one run: what was in flight then has ended
TASKS_MAY_FAIL = f"local[2,{ROUNDS + 1}]"
SPARE = 2 * SHARE  # calls that others make while what is to be killed is looked for
_AT_AN_ENDPOINT = """
chain: {{name: summarize, model: endpoint:fake/m}}
endpoints: {{fake: {{base_url: "{url}", concurrency: {slots}, attempts: 1}}}}
"""

# Whether all rows were asked, for `killing`: not so while what earlier runs left is taken.
PAY_LEDGER, ROWS_FILE = "pay.jsonl", "rows"
IMPORTS = "from pathlib import Path; from chains.models.fake.endpoint import read_pay_ledger"
ALL_ASKED = (
    f"set(Path('{ROWS_FILE}').read_text().split())"
    f" <= {{call.key for call in read_pay_ledger(Path('{PAY_LEDGER}'))}}"
)


class Job:
    """A command over rows that carry their key, in a folder; `words` follow `gristmill`.

    Subclasses say how rows come (`add`).
    """

    def __init__(self, folder, words, endpoint=None):
        self.folder, self.words, self.endpoint = folder, words, endpoint
        self.keys = []
        self.kills = []
        self._rows = 0

    def calls(self):
        """Return what was asked, as the endpoint's own ledger has it."""
        return self.endpoint.calls()

    def grow(self, rows=SHARE):
        """Let more rows come."""
        new = [f"r{number:05d}" for number in range(self._rows, self._rows + rows)]
        self._rows += rows
        self.add(new)
        self.keys += new
        (self.folder / ROWS_FILE).write_text("\n".join(self.keys))

    def checked(self, fault, in_flight):
        """Add what it left behind to the table of faults; it has to be clean."""
        tally = TALLIES.of(fault)
        rows = rows_of(self.folder / "target")
        tally.add(self.keys, rows, self.calls(), self.kills, in_flight)
        assert tally.is_clean, tally

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

    def ends(self, running, code=0):
        """Wait for a run, which has to end with a code."""
        assert running.wait(300) == code, (self.folder / "log").read_text()[-3000:]

    def was_disturbed(self):
        """Let more rows come; meanwhile the endpoint reads the last that a killed run had sent."""
        self.grow()
        self.kills.append(len(self.calls()))


def documents(keys):
    """Return the rows of a source."""
    return pa.table({"id": keys, "body": [f"key={key} text" for key in keys]})


def at_an_endpoint(endpoint):
    """Return the settings of a job that asks an endpoint, each row once."""
    return _AT_AN_ENDPOINT.format(url=endpoint.base_url, slots=SLOTS)


def numbers():
    """Return which request of a share to kill at, for each point."""
    return [1 + (7 * point) % SHARE for point in range(ROUNDS)]


def asked(calls):
    """Return how often the endpoint was asked."""
    return len(calls)


def answered(calls):
    """Return how often it has answered."""
    return sum(call.finished is not None for call in calls)


def reaches(job, number, reached=asked):
    """Wait until the endpoint was asked, or has answered, so often from now on."""
    before = len(job.calls())
    job.endpoint.wait_for(lambda calls: reached(calls[before:]) >= number, timeout=300)


def driver_killed_at_requests(job, reached):
    """Kill a job with its JVM; its workers find out for themselves."""
    job.grow()
    for number in numbers():
        killed = job.start()
        reaches(job, number, reached)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(60)
        assert left_of(killed.pid) == {}
        job.was_disturbed()
    job.finish()


def disturbed_at_a_step(job, program, code, points):
    """Run a job by a program that ends with a code when all is answered and a step is reached."""
    job.grow()
    for _ in range(max(1, points)):
        job.ends(job.start(*program), code)
        job.was_disturbed()
    job.finish()


def worker_killed_at_requests(job):
    """Kill a Python worker of a job again and again, which has to go on."""
    job.grow(rows_for_kills())
    running = job.start()
    killed_while_it_runs(job, lambda: os.kill(worker_of(job, running.pid), signal.SIGKILL))
    job.ends(running)


def killed_while_it_runs(job, kill):
    """Kill something of one run whenever so many more were asked."""
    for number in numbers():
        reaches(job, APART + number)
        kill()
        job.kills.append(len(job.calls()) + IN_FLIGHT)  # some may be on their way


def rows_for_kills():
    """Return how many rows a job needs to be disturbed so often in one run."""
    return sum(APART + number + SPARE for number in numbers())


def two_at_once(job):
    """Start a job twice, again and again; one of both succeeds, the other one may say it lost."""
    job.grow()
    for _ in range(max(1, ROUNDS // 2)):
        found = [it.wait(300) for it in (job.start(), job.start())]
        assert 0 in found
        assert set(found) <= {0, 1}
        job.was_disturbed()
    job.finish()


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


def worker_of(job, session):
    """Return the pid of a worker that is connected to the job's endpoint."""
    port = urlsplit(job.endpoint.base_url).port
    return wait_until(lambda: next(_connected(session, port), None), 300)


def _connected(session, port):
    for pid in processes_of(session):
        with suppress(psutil.NoSuchProcess):
            to = [it.raddr.port for it in psutil.Process(pid).net_connections("tcp") if it.raddr]
            if port in to:
                yield pid


def executors_of(session):
    """Return the pids of a session's executors."""
    found = processes_of(session).items()
    return sorted(pid for pid, it in found if "CoarseGrainedExecutorBackend" in it)

"""The refresh command under faults: between two of them rows come and one goes."""

import signal
import sys

import pytest
from deltalake import DeltaTable, write_deltalake
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
    two_at_once,
    worker_killed_at_requests,
)
from killing import killed_at, lost_answer
from rounds import ROUNDS, long
from tally import rows_of

pytestmark = [pytest.mark.process, long]

SETTINGS = """
source: {{table: ./source, key: id, columns: {{document: body}}}}
target: {{table: ./target, on_delete: delete}}
ledger: {{table: ./ledger}}
spark: {{master: "{master}"}}
"""
STEPS = {
    "journal": "journal.Journal.finish",
    "ledger": "ledger.Ledger.take",
    "target": "delta.Table.merge_changes",
}
STEPS_OF = f"{IMPORTS}; from udfs import delta, journal, ledger"
KILLED_AT = (sys.executable, "-c", killed_at(STEPS_OF, STEPS, ALL_ASKED))
LOST_AT = (sys.executable, "-c", lost_answer(STEPS_OF, STEPS, ALL_ASKED))


class Refresh(Job):
    """A refresh whose target is in step with a source to which more rows come.

    Every other time a row goes: without, the target is written by another command of Delta's.
    """

    def __init__(self, folder, endpoint, *, master="local[2]"):
        super().__init__(folder, ["refresh", "job.yml"], endpoint)
        self.gone, self.removes = set(), False
        text = SETTINGS.format(master=master)
        (folder / "job.yml").write_text(text + at_an_endpoint(endpoint))
        self.grow()
        self.finish()

    def add(self, keys):
        feed = {"delta.enableChangeDataFeed": "true"}
        path = self.folder / "source"
        write_deltalake(path, documents(keys), mode="append", configuration=feed)
        if self.removes:
            self.gone.add(gone := self.keys.pop(0))
            DeltaTable(path).delete(f"id = '{gone}'")
        self.removes = not self.removes

    def checked(self, fault, in_flight):
        super().checked(fault, in_flight)
        assert self.gone.isdisjoint(row["id"] for row in rows_of(self.folder / "target"))


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_request(tmp_path, endpoint, reached):
    """With its JVM; its workers find out for themselves."""
    driver_killed_at_requests(job := Refresh(tmp_path, endpoint), reached)
    job.checked(f"refresh: driver killed, n-th new row {reached.__name__}", in_flight=IN_FLIGHT)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, endpoint, step, when):
    """What was journalled is not asked again."""
    job, program = Refresh(tmp_path, endpoint), (*KILLED_AT, f"{step}-{when}")
    disturbed_at_a_step(job, program, -signal.SIGKILL, points=ROUNDS // 2)
    job.checked(f"refresh: driver killed {when} the {step}'s commit", in_flight=0)


@pytest.mark.parametrize("step", ["ledger", "target"])
def test_a_commit_lands_and_its_answer_is_lost(tmp_path, endpoint, step):
    job = Refresh(tmp_path, endpoint)
    disturbed_at_a_step(job, (*LOST_AT, step), code=1, points=ROUNDS // 2)
    job.checked(f"refresh: the {step}'s commit lands, its answer is lost", in_flight=0)


def test_python_workers_are_killed_and_spark_tries_their_tasks_again(tmp_path, endpoint):
    job = Refresh(tmp_path, endpoint, master=TASKS_MAY_FAIL)
    worker_killed_at_requests(job)
    job.checked("refresh: Python worker killed, n-th new row asked", in_flight=SLOTS)


def test_two_refreshes_at_once(tmp_path, endpoint):
    """One wins, and the other one says so."""
    two_at_once(job := Refresh(tmp_path, endpoint))
    job.checked("refresh: two at once", in_flight=0)

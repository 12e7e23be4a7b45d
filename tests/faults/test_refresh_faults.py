"""The refresh command under faults, after a change: rows are new and one is gone."""

import sys

import pytest
from deltalake import DeltaTable, write_deltalake
from disturbed import (
    KEYS,
    Job,
    answer_lost,
    answered,
    asked,
    at_an_endpoint,
    documents,
    drivers_killed_at_a_step,
    drivers_killed_at_requests,
    workers_killed_at_requests,
)
from killing import killed_at, lost_answer
from rounds import long
from tally import TALLIES, rows_of

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
IMPORTS = "from udfs import delta, journal, ledger"
KILLED_AT = (sys.executable, "-c", killed_at(IMPORTS, STEPS))
LOST_AT = (sys.executable, "-c", lost_answer(IMPORTS, STEPS))
OLD, NEW = KEYS[: len(KEYS) // 2], KEYS[len(KEYS) // 2 :]
GONE = "gone"


class Refresh(Job):
    """A refresh whose target is in step with the source until half of the rows come."""

    def __init__(self, folder, endpoint, *, master="local[2]"):
        super().__init__(folder, ["refresh", "job.yml"], endpoint)
        folder.mkdir()
        text = SETTINGS.format(master=master)
        (folder / "job.yml").write_text(text + at_an_endpoint(endpoint))
        feed = {"delta.enableChangeDataFeed": "true"}
        write_deltalake(self.source, documents([*OLD, GONE]), configuration=feed)
        self.finish()
        DeltaTable(self.source).delete(f"id = '{GONE}'")
        write_deltalake(self.source, documents(NEW), mode="append")

    @property
    def source(self):
        return str(self.folder / "source")

    def calls(self):
        return [call for call in super().calls() if call.key != GONE]

    def count(self, tally, in_flight):
        super().count(tally, in_flight)
        assert GONE not in {row["id"] for row in rows_of(self.folder / "target")}


def of_the_new_rows(reached):
    """Return what is reached when so many, of twice as many rows, are: behind the first refresh."""
    return lambda number: reached(len(OLD) + 1 + (number + 1) // 2)


@pytest.mark.parametrize("reached", [asked, answered])
def test_the_driver_is_killed_at_a_request(tmp_path, reached):
    """With its JVM and its workers, as a machine that goes away."""
    tally = TALLIES.of(f"refresh: driver and workers killed, n-th new row {reached.__name__}")
    drivers_killed_at_requests(
        tally, of_the_new_rows(reached), lambda name, it: Refresh(tmp_path / name, it)
    )
    assert tally.is_clean, tally


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_the_driver_is_killed_at_a_commit(tmp_path, step, when):
    """What was journalled is not asked again."""
    tally = TALLIES.of(f"refresh: driver killed {when} the {step}'s commit")
    program = (*KILLED_AT, f"{step}-{when}")
    drivers_killed_at_a_step(tally, program, lambda name, it: Refresh(tmp_path / name, it))
    assert tally.is_clean, tally


@pytest.mark.parametrize("step", ["ledger", "target"])
def test_a_commit_lands_and_its_answer_is_lost(tmp_path, step):
    tally = TALLIES.of(f"refresh: the {step}'s commit lands, its answer is lost")
    answer_lost(tally, (*LOST_AT, step), lambda name, it: Refresh(tmp_path / name, it))
    assert tally.is_clean, tally


def test_a_python_worker_is_killed_and_spark_tries_its_task_again(tmp_path):
    tally = TALLIES.of("refresh: Python worker killed, n-th new row asked")
    workers_killed_at_requests(
        tally,
        lambda name, it: Refresh(tmp_path / name, it, master="local[2,4]"),
        of_the_new_rows(asked),
    )
    assert tally.is_clean, tally

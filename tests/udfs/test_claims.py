"""Two runs at the same time do not both pay for a question."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Event

import numpy as np
import pytest
from local_models import GATE, NOTES

from chains import load_chain, resolve_model
from chains.errors import JobError
from udfs import claims, flow, lease
from udfs.claims import Claims
from udfs.completion import pin
from udfs.delta import Table
from udfs.files import Place
from udfs.lease import LEASE, Lease
from udfs.ledger import Ledger
from udfs.passes import Pass
from udfs.taken import content_of, tell_taken
from udfs.work import Work

pytestmark = pytest.mark.spark

WORK = Work(
    pin(load_chain("summarize"), resolve_model("python:local_models:Gated")),
    ("id",),
    {"document": "document"},
)


@pytest.fixture
def told():
    """Return an event: a run has said that it waits."""
    waits = Event()
    handler = logging.Handler()
    handler.emit = lambda record: (
        waits.set() if "waiting for a run" in record.getMessage() else None
    )
    log = logging.getLogger("gristmill")
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield waits
    log.removeHandler(handler)
    log.setLevel(before)


@pytest.fixture
def ledger(spark, tmp_path):
    """Return an empty ledger, beside a gate that is shut."""
    for file in (GATE, NOTES):
        file.unlink(missing_ok=True)
    opened = Ledger(Table(f"{tmp_path}/ledger"))
    opened.open(spark)
    yield opened
    GATE.touch()


def calls():
    return sum(line.endswith("call") for line in NOTES.read_text().splitlines())


def test_of_two_runs_that_ask_the_same_one_pays_and_both_have_answers(spark, ledger, told):
    def ask(run, *texts):
        source = spark.createDataFrame([(it, it) for it in texts], "id string, document string")
        with flow.run(source, WORK, ledger, run) as answered:
            found = {row["id"]: row["result"] for row in answered.rows(run).collect()}
        return answered.paid.completed, found

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(ask, "run-1", "a", "b"), pool.submit(ask, "run-2", "b", "c")]
        assert told.wait(60)
        GATE.touch()
        (paid, found), (paid_too, found_too) = (run.result(60) for run in runs)
    assert paid + paid_too == calls() == 3
    assert (found, found_too) == ({"a": "A", "b": "B"}, {"b": "B", "c": "C"})


@pytest.mark.parametrize("killed", [False, True])
def test_what_another_run_answers_while_this_one_plans_is_not_asked_again(
    spark, ledger, monkeypatch, killed
):
    GATE.touch()
    source = spark.createDataFrame([("a", "a"), ("b", "b")], "id string, document string")
    affordable, take = Pass._affordable, Ledger.take

    def killed_before(self, spark, name):
        monkeypatch.setattr(Ledger, "take", take)
        raise JobError("killed")

    def beaten(self):
        """Let another run begin and end before this one claims."""
        monkeypatch.setattr(Pass, "_affordable", affordable)
        if killed:
            monkeypatch.setattr(Ledger, "take", killed_before)
        with suppress(JobError), flow.run(source, WORK, ledger, "run-2"):
            pass
        return affordable(self)

    monkeypatch.setattr(Pass, "_affordable", beaten)
    with flow.run(source, WORK, ledger, "run-1") as answered:
        assert [it["result"] for it in answered.rows("run-1").sort("id").collect()] == ["A", "B"]
    assert calls() == 2


@pytest.fixture
def journals(spark, tmp_path):
    """Return the folder of the journals, as a `Place`."""
    return Place(spark, f"{tmp_path}/journals")


@pytest.fixture
def begin(journals):
    """Return a function that begins a run, which lives until the test ends."""
    with ExitStack() as leases:
        yield lambda run: leases.enter_context(Lease(journals / run / LEASE))


def test_only_a_run_with_the_same_question_that_is_not_taken_yet_is_before(journals, begin):
    mine, others, runs = np.array([3, 5], np.uint64), np.array([4, 6], np.uint64), Claims(journals)
    for run, heads in (("ended", mine), ("ended with others", others), ("taken", mine)):
        with Lease(journals / run / LEASE):
            runs.make(run, "chain", heads)
    tell_taken(journals / "taken", content_of(journals / "taken"))
    asked = {
        "one": ("chain", mine),
        "two": ("chain", others),
        "three": ("another chain", mine),
        "same": ("chain", mine),
        "any": ("chain", None),
    }
    before = {run: [begin(run), sorted(runs.make(run, *it))][1] for run, it in asked.items()}
    assert before == {
        "one": ["ended"],
        "two": ["ended with others"],
        "three": [],
        "same": ["ended", "one"],
        "any": ["ended", "ended with others", "one", "same", "two"],
    }


def test_a_dead_run_of_another_machine_is_waited_for_once(spark, ledger, monkeypatch):
    """What it had answered is taken, and what it had not is asked."""
    GATE.touch()
    monkeypatch.setattr(lease, "SILENT_SECONDS", 1.5)
    monkeypatch.setattr(claims, "SECONDS_BETWEEN_DEATHS", 1.0)
    source = spark.createDataFrame([("a", "a")], "id string, document string")
    asked = Pass(WORK.prepare(source), WORK, ledger)
    journals = Place(spark, ledger.journal(spark).folder)
    dead = {"machine": "elsewhere", "pid": 1, "beats": 7, "since": "1"}
    (journals / "dead" / LEASE).replace(json.dumps(dead).encode())
    Claims(journals).make("dead", asked._asker(), None)
    with asked, flow.run(source, WORK, ledger, "run") as answered:
        assert [it["result"] for it in answered.rows("run").collect()] == ["A"]


def test_a_run_that_is_taking_its_number_is_waited_for(journals, begin, monkeypatch):
    """It may have looked before the other one told its own, and then comes first."""
    heads = np.array([3], np.uint64)

    def tells(_):
        line = json.dumps({"number": 1, "asker": "chain", "any": False}).encode() + b"\n"
        (journals / "taking" / "_claim").write(line + heads.tobytes())

    monkeypatch.setattr(claims, "sleep", tells)
    begin("taking")
    begin("zz")
    assert Claims(journals).make("zz", "chain", heads) == ["taking"]


def test_a_run_that_died_is_not_waited_for(journals, begin):
    runs = Claims(journals)
    begin("dead")
    runs.make("dead", "chain", None)
    lease = journals / "dead" / LEASE
    lease.replace(json.dumps({**json.loads(lease.read()), "since": "1"}).encode())
    begin("here")
    assert runs.make("here", "chain", None) == ["dead"]
    runs.wait(["dead"])

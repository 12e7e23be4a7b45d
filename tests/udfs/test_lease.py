"""Who is dead: a process that has ended, here or elsewhere; never one that lives."""

import json
import subprocess
import sys
from threading import Event

import pytest

from udfs import lease
from udfs.files import Place
from udfs.lease import Lease, dead

pytestmark = pytest.mark.spark


@pytest.fixture
def place(spark, tmp_path):
    """Return where a lease is written."""
    return Place(spark, f"{tmp_path}/_alive")


def test_a_lease_is_alive_in_its_block_and_dead_after_it(place):
    with Lease(place):
        assert dead({"run": place}) == set()
    assert dead({"run": place}) == {"run"}


def told(place, **changes):
    """Write a lease as another process would, that runs now."""
    place.replace(json.dumps({**json.loads(place.read()), "beats": 1, **changes}).encode())


def test_a_process_that_is_gone_is_dead(place):
    with Lease(place):
        pass
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    told(place, pid=gone.pid)
    assert dead({"run": place}) == {"run"}


def test_another_process_that_got_the_same_number_does_not_count(place):
    with Lease(place):
        pass
    told(place, since="1")
    assert dead({"run": place}) == {"run"}


def test_a_run_of_another_machine_is_dead_when_it_is_silent(place, monkeypatch):
    monkeypatch.setattr(lease, "SILENT_SECONDS", 1.5)
    with Lease(place):
        pass
    told(place, machine="elsewhere")
    assert dead({"run": place}) == {"run"}


class Beating(Place):
    """A lease that was written again each time it is looked at."""

    def read(self):
        told(Place(self.spark, self.path), beats=json.loads(super().read())["beats"] + 1)
        return super().read()


def test_a_run_of_another_machine_that_beats_lives(place, spark):
    with Lease(place):
        pass
    told(place, machine="elsewhere")
    assert dead({"run": Beating(spark, place.path)}) == set()


def test_a_beat_that_could_not_be_written_is_followed_by_others(place, spark, monkeypatch, caplog):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    beats_again = Event()

    class CutOff(Place):
        def replace(self, content):
            beats = json.loads(content)["beats"]
            if beats == 1:
                raise OSError("no route to the store")
            if beats > 1:
                beats_again.set()
            super().replace(content)

    with Lease(CutOff(spark, place.path)):
        assert beats_again.wait(60)
    assert "no route to the store" in caplog.text

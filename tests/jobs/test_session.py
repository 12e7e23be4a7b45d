"""The session's start: its JVM's options, what an interrupt meanwhile does."""

import os
import signal

import pytest

from jobs import jvm
from jobs.session import interrupts_held


@pytest.fixture(autouse=True)
def _default_handler():
    """Some shells start their background processes with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_start():
    steps = []

    def start():
        with interrupts_held():
            interrupt()
            steps.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_nothing_changes():
    with interrupts_held():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_the_start_sets_stays():
    def own(number, frame):
        pass

    with interrupts_held():
        signal.signal(signal.SIGINT, own)
    assert signal.getsignal(signal.SIGINT) is own


def test_ignored_interrupts_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_held():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_collector_that_the_user_names_is_the_only_one():
    """Java does not start with two."""
    assert "GC" in " ".join(jvm.options("-Xss8m"))
    given = "-Xss8m -XX:+UseG1GC"
    assert " ".join(jvm.options(given)).count("GC") == 1
    assert jvm.options(given)[-1] == given

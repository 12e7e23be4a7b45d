"""Whether processes end, also those that nobody waits for."""

import time

import psutil


def lives(process):
    """Whether it runs; one that is dead and not yet waited for does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(holds, seconds=30):
    """Look again until something holds."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return found


def assert_ended(*processes):
    """Wait for the end of all of them."""
    wait_until(lambda: not any(map(lives, processes)))

"""What a tree of processes uses: CPU seconds, and peak memory by kind of process."""

import threading
from collections.abc import Iterable
from contextlib import suppress

import psutil

GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except GONE:
        return []


def cpu_seconds(pid: int) -> float:
    """Return user and system time of the tree, ended and awaited children included."""
    total = 0.0
    for process in tree(pid):
        with suppress(*GONE):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def end(pid: int) -> None:
    """End what is left of a tree that the harness itself has started."""
    processes = tree(pid)
    for process in processes:
        with suppress(*GONE):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


class Memory:
    """Samples a tree's resident memory while it is open; `peaks` are MiB.

    `driver` is the root, `jvm` the largest Java process, `workers` the other processes that grew
    beyond 100 MiB, each by itself; pages that processes share are counted in each of them.
    """

    def __init__(self, pid: int, every: float = 0.5) -> None:
        self._pid, self._every = pid, every
        self._peaks: dict[tuple[str, int], int] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    @property
    def peaks(self) -> dict[str, float | list[float]]:
        workers = sorted(self._of("worker"), reverse=True)
        return {
            "driver": max(self._of("driver"), default=0.0),
            "jvm": max(self._of("jvm"), default=0.0),
            "workers": [it for it in workers if it > 100],
        }

    def _of(self, kind: str) -> Iterable[float]:
        return [round(peak / 2**20, 1) for (of, _), peak in self._peaks.items() if of == kind]

    def _sample(self) -> None:
        while not self._closed.wait(self._every):
            for process in tree(self._pid):
                with suppress(*GONE):
                    key = (self._kind(process), process.pid)
                    self._peaks[key] = max(self._peaks.get(key, 0), process.memory_info().rss)

    def _kind(self, process: psutil.Process) -> str:
        if process.pid == self._pid:
            return "driver"
        return "jvm" if process.name() == "java" else "worker"

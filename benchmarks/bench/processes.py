"""What a tree of processes uses: CPU seconds, and peak memory by kind of process."""

import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from chains.models.sidecar.folder import ServerFolder

SIDECARS = Path(tempfile.gettempdir()) / f"gristmill-{os.getuid()}" / "sidecars"
SECONDS_BETWEEN_SUMS = 2
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


def sidecars(executor: int) -> list[psutil.Process]:
    """Return the processes of an executor's model servers; a keeper starts them, no task does."""
    states = [ServerFolder(it).state() for it in SIDECARS.joinpath(str(executor)).glob("*")]
    return [process for it in states if it.pid is not None for process in tree(it.pid)]


class Memory:
    """Samples a tree's resident memory while it is open; `peaks` are MiB.

    `driver` is the root, `jvm` the largest Java process, `servers` the executors' model servers,
    `workers` the other processes that grew beyond 100 MiB, each by itself; pages that processes
    share are counted in each of them. `together` is the most that workers and servers had at a
    time, where such pages count once; that is sampled every two seconds.
    """

    def __init__(self, pid: int, every: float = 0.5) -> None:
        self._pid, self._every = pid, every
        self._peaks: dict[tuple[str, int], int] = {}
        self._together = 0
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
        servers = sorted(self._of("server"), reverse=True)
        return {
            "driver": max(self._of("driver"), default=0.0),
            "jvm": max(self._of("jvm"), default=0.0),
            "workers": [it for it in workers if it > 100],
            "servers": [it for it in servers if it > 100],
            "together": round(self._together / 2**20, 1),
        }

    def _of(self, kind: str) -> Iterable[float]:
        return [round(peak / 2**20, 1) for (of, _), peak in self._peaks.items() if of == kind]

    def _sample(self) -> None:
        samples = 0
        while not self._closed.wait(self._every):
            found = tree(self._pid)
            of_kind = [(self._kind(it), it) for it in found]
            jvms = [process.pid for kind, process in of_kind if kind == "jvm"]
            of_kind += [("server", process) for pid in jvms for process in sidecars(pid)]
            for kind, process in of_kind:
                with suppress(*GONE):
                    key = (kind, process.pid)
                    self._peaks[key] = max(self._peaks.get(key, 0), process.memory_info().rss)
            samples += 1
            if samples * self._every % SECONDS_BETWEEN_SUMS < self._every:
                apart = ("server", "worker")
                self._together = max(
                    self._together, _shared_once([it for kind, it in of_kind if kind in apart])
                )

    def _kind(self, process: psutil.Process) -> str:
        if process.pid == self._pid:
            return "driver"
        with suppress(*GONE):
            return "jvm" if process.name() == "java" else "worker"
        return "worker"


def _shared_once(processes: Sequence[psutil.Process]) -> int:
    """Return the bytes of some processes, of shared pages the share of each."""
    total = 0
    for process in processes:
        with suppress(*GONE):
            total += process.memory_full_info().pss
    return total

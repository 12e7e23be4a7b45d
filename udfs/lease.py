"""Whether the run that writes a journal is alive: a file that it writes again and again."""

import json
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from py4j.protocol import Py4JError

from udfs.files import Place

LOG = logging.getLogger("gristmill")
LEASE = "_alive"
HEARTBEAT_SECONDS = 5.0
SILENT_SECONDS = 20.0
_ENDED = -1


class Lease:
    """Tells that this process works on something, while the block runs."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ended = Event()
        self._thread = Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Lease":
        self._tell(0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._tell(_ENDED)

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(HEARTBEAT_SECONDS):
            beats += 1
            try:
                self._tell(beats)
            except (OSError, Py4JError) as error:  # the next one may be in time
                cause = str(error).partition("\n\tat ")[0]  # without Java's stack
                LOG.warning("a run cannot tell others that it is alive: %s", cause)

    def _tell(self, beats: int) -> None:
        """Write the lease; a negative number of beats says that it has ended."""
        told = {"machine": _machine(), "pid": os.getpid(), "beats": beats}
        self._place.replace(json.dumps(told | {"since": _started_at(os.getpid())}).encode())


def dead(leases: Mapping[str, Place]) -> set[str]:
    """Return the names of leases whose process has ended.

    A process of this machine is looked up. One of another machine is dead when its lease has not
    changed for SILENT_SECONDS; that is waited for.
    """
    told = {name: _read(place) for name, place in leases.items()}
    ended = {name for name, it in told.items() if _is_over(it)}
    far = {it for it in told.keys() - ended if told[it].get("machine") != _machine()}
    if far:
        LOG.info("waiting up to %.0f s to see whether %d runs live", SILENT_SECONDS, len(far))
    begin = monotonic()
    while far and monotonic() - begin < SILENT_SECONDS:
        sleep(1)
        far = {it for it in far if _read(leases[it]) == told[it]}
    return ended | far


def has_ended(lease: Place) -> bool:
    """Whether a lease says that its run has ended, or is gone, or names no process of this machine.

    One of another machine may be dead without saying so: see `dead`.
    """
    return _is_over(_read(lease))


def declare_dead(lease: Place) -> None:
    """Tell of a run that it has ended, so that nobody waits for it; if it lives, it beats again."""
    lease.replace(json.dumps({"beats": _ENDED}).encode())


def _is_over(told: Mapping[str, Any]) -> bool:
    if told.get("beats", 0) < 0:
        return True
    return told.get("machine") == _machine() and _started_at(told["pid"]) != told["since"]


def _read(place: Place) -> dict[str, Any]:
    """Return what a lease tells: nothing while it is being written, an end where it is gone."""
    try:
        return dict(json.loads(place.read()))
    except FileNotFoundError:
        return {"beats": _ENDED}
    except ValueError:
        return {}


def _machine() -> str:
    """Return what tells this machine, and this container on it, from others."""
    here = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if not all(path.exists() for path in here):
        return socket.gethostname()
    return f"{socket.gethostname()} {here[0].read_text().strip()} {here[1].stat().st_ino}"


def _started_at(pid: int) -> str | None:
    """Return when a process of this machine began, in the kernel's ticks; None where it is gone."""
    status = Path(f"/proc/{pid}/stat")
    if status.exists():
        return status.read_text().rpartition(")")[2].split()[19]
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return ""

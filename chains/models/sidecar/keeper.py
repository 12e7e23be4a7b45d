"""The process beside a model server: starts it, watches over it, ends it when nobody needs it.

`python -m chains.models.sidecar.keeper FOLDER`; started by chains/models/sidecar/server.py, which
leaves it the folder's lock.
"""

import ctypes
import fcntl
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path

import psutil

from chains.models.sidecar.folder import ServerFolder, State
from chains.models.sidecar.probe import HOST, answers, gpu_mb, memory_text, resident_mb
from chains.models.sidecar.settings import KINDS

TOKEN_VARIABLE = "SIDECAR_TOKEN"  # noqa: S105 - a name, not a token
TICK_SECONDS = 0.1
PROBE_SECONDS = 5.0
STOP_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.5
SETTLED_SECONDS = 60.0  # crashes that are further apart do not count as crashes in a row
_PR_SET_PDEATHSIG = 1
_PLACEHOLDER = re.compile(r"\{(python|model|host|port|token)\}")

log = logging.getLogger("gristmill.sidecar")
Server = subprocess.Popen[bytes]


class _NotNeeded(Exception):
    """Nobody needs the server any more."""


@dataclass(frozen=True)
class _Crash:
    """Why a server was given up, and for how many seconds it had been ready; None: never."""

    why: str
    served_seconds: float | None


class Keeper:
    """Keeps the server of a folder's plan up, on one port and behind one token."""

    def __init__(self, folder: ServerFolder) -> None:
        self._folder = folder
        self._plan = folder.plan()
        self._settings = self._plan.settings
        self._token = folder.token()

    def run(self) -> None:
        """Return when the owner has ended, nobody asks any more, or the server is given up."""
        with _reserved_port() as self._port, self._folder.use.open("a") as self._use:
            try:
                failed = self._keep_up()
                log.error("the server %s; given up", failed)
                self._folder.tell(State(failed=failed))
            except _NotNeeded as reason:
                log.info("ended: %s", reason)
                self._folder.tell(State())

    def _keep_up(self) -> str:
        """Start the server, and again after each crash; return why there is no use in that."""
        crashes = 0
        while True:
            try:
                with self._server() as server:
                    crash = self._watch(server)
            except OSError as error:
                return f"cannot be started: {error}"
            self._folder.tell(State())
            if crash.served_seconds is None and not crashes:
                return f"{crash.why} before it was ready; {self._folder.end_of_log()}"
            log.warning("the server %s", crash.why)
            crashes = 1 if (crash.served_seconds or 0) > SETTLED_SECONDS else crashes + 1
            if crashes > self._settings.restarts:
                return f"{crash.why}, after {self._settings.restarts} restarts"
            for _ in self._ticks(FIRST_BACKOFF_SECONDS * 2 ** (crashes - 1)):
                pass

    def _watch(self, server: Server) -> _Crash:
        """Return when the server has ended or no longer answers its probe."""
        path, patience = self._settings.probe_path, self._settings.ready_seconds
        began = answered = time.monotonic()
        ready_at: float | None = None
        for now in self._ticks():
            served = None if ready_at is None else now - ready_at
            if server.poll() is not None:
                return _Crash(f"ended with exit code {server.returncode}", served)
            if served is not None and now < answered + PROBE_SECONDS:
                continue
            if answers(self._port, path, self._token):
                answered = now
                if ready_at is None:
                    ready_at = now
                    self._tell_ready(server.pid, now - began)
            elif now > answered + patience:
                return _Crash(f"gave no 200 to GET {path} for {patience:g} s", served)
            self._folder.trim_log()
        raise AssertionError("ticks without a limit do not end")

    def _ticks(self, seconds: float = inf) -> Iterator[float]:
        """Yield the time every TICK_SECONDS, for so long; raise where nobody needs a server."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if not _lives(self._plan.owner):
                raise _NotNeeded(f"its owner, process {self._plan.owner}, has ended")
            if self._idle():
                raise _NotNeeded(f"not asked for {self._settings.idle_seconds:g} s")
            yield now
            time.sleep(TICK_SECONDS)

    def _idle(self) -> bool:
        """Whether nobody has asked for `idle_seconds`.

        Then the lock is kept to the end: who comes meanwhile waits, and starts another server.
        """
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.utime(self._folder.use)
            return False
        if time.time() - self._folder.use.stat().st_mtime > self._settings.idle_seconds:
            return True
        fcntl.flock(self._use, fcntl.LOCK_UN)
        return False

    @contextmanager
    def _server(self) -> Iterator[Server]:
        command = self._settings.server_command
        values = {
            "python": sys.executable,
            "model": self._plan.model,
            "host": HOST,
            "port": str(self._port),
            "token": self._token,
        }
        server = subprocess.Popen(  # noqa: S603
            [_PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in command],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_the_keeper,
        )
        gpus = ",".join(self._plan.gpus) or "as they are"
        log.info("server %d started (GPUs %s): %s", server.pid, gpus, shlex.join(command))
        try:
            yield server
        finally:
            _end(server)

    def _environment(self) -> dict[str, str]:
        """Return the server's environment; GPU addresses count as nvidia-smi counts them."""
        variables = {TOKEN_VARIABLE, KINDS[self._settings.kind].token_variable} - {None}
        environment = os.environ | {str(name): self._token for name in variables}
        if self._plan.gpus:
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self._plan.gpus)
        if self._settings.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self._settings.threads)
        return environment

    def _tell_ready(self, pid: int, seconds: float) -> None:
        memory, gpu_memory = resident_mb(pid), gpu_mb(self._plan.gpus)
        log.info("server %d ready in %.1f s: %s", pid, seconds, memory_text(memory, gpu_memory))
        self._folder.tell(
            State(port=self._port, pid=pid, ready=True, memory_mb=memory, gpu_memory_mb=gpu_memory)
        )


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Hold a free port that a server with SO_REUSEADDR may listen on, and nobody is given."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _die_with_the_keeper() -> None:
    """Let Linux kill the server where the keeper is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(server: Server) -> None:
    """End a server and all that it started."""
    if server.poll() is None:
        log.info("server %d ends: %s", server.pid, memory_text(resident_mb(server.pid), None))
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)


def main() -> None:
    """Keep a server; SIGTERM ends both."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s keeper %(process)d: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    Keeper(ServerFolder(Path(sys.argv[1]))).run()


if __name__ == "__main__":
    main()

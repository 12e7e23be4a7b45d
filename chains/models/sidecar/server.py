"""A task's end of a model server that it shares with the other tasks of its executor."""

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chains.errors import ModelLoadError
from chains.models.sidecar.folder import Plan, ServerFolder, State
from chains.models.sidecar.probe import answers, memory_text

_POLL_SECONDS = 0.05

# The shell leaves at once: the keeper is nobody's child, and no task waits for its end.
_DETACH = '"$@" </dev/null >>server.log 2>&1 &'

log = logging.getLogger("gristmill.models")


class SharedServer:
    """The server of a plan; who asks first starts it, the others wait until it is ready."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = ServerFolder.of(plan)

    @property
    def model(self) -> str:
        """The folder that it serves, by which requests name the model."""
        return self._plan.model

    @property
    def token_file(self) -> Path:
        """The file with the server's token."""
        return self._folder.token_file

    @property
    def log_file(self) -> Path:
        """The file that the server prints to."""
        return self._folder.log

    @contextmanager
    def in_use(self) -> Iterator[int]:
        """Give the port of the server, ready; while the block runs it does not end as idle.

        Raises ModelLoadError where it does not become ready.
        """
        with self._folder.use.open("a") as use:
            fcntl.flock(use, fcntl.LOCK_SH)  # waits where one that was idle is just ending
            os.utime(self._folder.use)
            try:
                yield self._started().port
            finally:
                os.utime(self._folder.use)

    def answers(self, port: int) -> bool:
        """Whether the server answers its probe."""
        return answers(port, self._plan.settings.probe_path, self._folder.token())

    def kept(self, port: int) -> bool:
        """Whether there is a keeper that will restart it on this port: another one has its own."""
        with self._folder.lock.open("a") as lock:
            if _locked(lock.fileno()):
                return False
        state = self._folder.state()
        return not state.ready or state.port == port

    def _started(self) -> State:
        launched = waited = False
        while True:
            with self._folder.lock.open("a") as lock:
                if _locked(lock.fileno()):
                    if launched or (waited and self._folder.state().failed):
                        raise self._failure()
                    self._launch(lock.fileno())
                    launched = True
            waited = True
            state = self._folder.state()
            if state.ready:
                if launched:
                    self._log_ready(state)
                return state
            time.sleep(_POLL_SECONDS)

    def _launch(self, lock: int) -> None:
        """Start the keeper, which inherits the lock and finds the modules that we have."""
        self._folder.prepare(self._plan)
        modules = os.pathsep.join(str(Path(it).absolute()) for it in sys.path)
        keeper = [sys.executable, "-m", "chains.models.sidecar.keeper", str(self._folder.path)]
        subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", _DETACH, "sh", *keeper],
            cwd=self._folder.path,
            env=os.environ | {"PYTHONPATH": modules},
            pass_fds=[lock],
            start_new_session=True,
            check=True,
        )

    def _log_ready(self, state: State) -> None:
        holds = memory_text(state.memory_mb, state.gpu_memory_mb)
        model, path = self._plan.model, self.log_file
        log.info("server %s of %s holds %s; its log is %s", state.pid, model, holds, path)

    def _failure(self) -> ModelLoadError:
        reason = self._folder.state().failed or f"lost its keeper; {self._folder.end_of_log()}"
        return ModelLoadError(f"the model server of {self._plan.model} {reason}")


def _locked(file: int) -> bool:
    """Lock a file; False where somebody else has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

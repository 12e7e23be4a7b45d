"""A Kafka broker of one node on this machine: for the demo and the tests, not for production."""

import base64
import fcntl
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from chains.errors import JobError
from jobs import jvm

HOST = "127.0.0.1"
START_SECONDS = 90.0
STOP_SECONDS = 60.0

# Up a third sooner than with the JVM's defaults, which are for servers that run for weeks.
_SMALL = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]

# The shell leaves at once: whoever starts a broker has no child to wait for.
_DETACH = '"$@" </dev/null >>broker.log 2>&1 & echo $!'


@dataclass(frozen=True)
class Broker:
    """A broker that keeps data, log and pid file in `folder`; also a context manager.

    Without a `port` it takes that of its last start, or a free one. It outlives the process that
    started it, until somebody calls `stop()`, in whichever process.

    The pid file is locked, and the broker itself holds the lock as long as it lives: however it
    dies, nobody takes an old pid for a running broker.
    """

    folder: Path
    port: int | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`. Raises JobError before the first start."""
        if not self._properties.is_file():
            raise JobError(f"the Kafka broker of {self.folder} was never started")
        return f"{HOST}:{self._last_port()}"

    @property
    def running(self) -> bool:
        """Whether it runs or is just starting."""
        try:
            with self._pid_file.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def start(self) -> bool:
        """Start it and wait until it answers; False where it ran already, then on its own port.

        Raises JobError where there is no Java, the port is taken, or the broker does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._pid_file.open("a", encoding="ascii") as file:
            if not self._lock(file.fileno()):
                return False
            file.truncate(0)
            file.write(self._launch(file.fileno()))
        try:
            self._wait_until_up()
        except BaseException:
            self.kill()
            raise
        return True

    def stop(self) -> bool:
        """Stop it in good order and wait for its end; False where none runs."""
        return self._end(signal.SIGTERM)

    def kill(self) -> bool:
        """Kill it as `kill -9` does and wait for its end; False where none runs."""
        return self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lock(self, pid_file: int) -> bool:
        """Lock the pid file; False where another broker has it and answers."""
        for _ in _polls(START_SECONDS, f"the Kafka broker of {self.folder} does not answer"):
            try:
                fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._answers():
                    return False
            else:
                break
        return True

    def _launch(self, lock: int) -> str:
        """Start the JVM, which inherits the lock; return its pid."""
        java = [jvm.java(), *_SMALL, "-cp", f"{jvm.jars('kafka')}/*"]
        with _reserved(self.port or self._last_port()) as port, _reserved(0) as controller_port:
            self._configure(port, controller_port)
            self._format(java)
        broker = [*java, "-Dlog4j2.configurationFile=log4j2.properties", "kafka.Kafka"]
        started = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", _DETACH, "sh", *broker, self._properties.name],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            pass_fds=[lock],
            start_new_session=True,
        )
        return started.stdout.strip()

    def _configure(self, port: int, controller_port: int) -> None:
        with jvm.conf_file("kafka/server.properties") as path:
            template = Template(path.read_text("utf-8"))
        filled = template.substitute(port=port, controller_port=controller_port)
        self._properties.write_text(filled, "utf-8")
        with jvm.spark_file("log4j2.properties") as path:
            (self.folder / path.name).write_bytes(path.read_bytes())

    def _format(self, java: list[str]) -> None:
        """Give the data folder its identity, the first time."""
        if (self.folder / "data" / "meta.properties").is_file():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"]
        done = subprocess.run(  # noqa: S603
            [*tool, "--config", self._properties.name],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise JobError(f"Kafka's storage cannot be formatted:\n{jvm.tail(done.stdout)}")

    def _wait_until_up(self) -> None:
        log = self.folder / "broker.log"
        for _ in _polls(START_SECONDS, f"Kafka does not answer; its log is {log}"):
            if self._answers():
                return
            if not self.running:
                said = jvm.tail(log.read_text("utf-8", "replace"))
                raise JobError(f"Kafka did not come up; the end of its log {log}:\n{said}")

    def _answers(self) -> bool:
        """Whether clients find a broker that takes part in its cluster."""
        try:
            socket.create_connection((HOST, self._last_port()), timeout=1).close()
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:
                return bool(admin.describe_cluster()["brokers"])
            finally:
                admin.close()
        except (OSError, KafkaError):
            return False

    def _end(self, how: signal.Signals) -> bool:
        ended = 0
        for _ in _polls(STOP_SECONDS, f"the Kafka broker of {self.folder} does not end"):
            if not self.running:
                break
            pid = int(self._pid_file.read_text("ascii") or 0)
            if pid not in (0, ended):  # 0: it is just starting
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
                ended = pid
        return ended != 0

    def _last_port(self) -> int:
        if not self._properties.is_file():
            return 0
        found = re.search(r"listeners=PLAINTEXT://.*?:(\d+)", self._properties.read_text("utf-8"))
        return int(found[1]) if found else 0

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "broker.pid"


@contextmanager
def _reserved(port: int) -> Iterator[int]:
    """Hold a port, a free one for 0, so that nobody else is given it meanwhile."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
        except OSError as error:
            raise JobError(f"port {port} cannot be had ({error.strerror}); name another") from None
        yield holder.getsockname()[1]


def _polls(seconds: float, late: str) -> Iterator[None]:
    """Yield every 50 ms; raise JobError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    raise JobError(late)

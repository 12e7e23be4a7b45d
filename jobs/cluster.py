"""A Spark cluster on this machine, a master and workers: for the demo and the tests."""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from chains.errors import JobError
from jobs import jvm

HOST = "127.0.0.1"
START_SECONDS = 90.0
STOP_SECONDS = 30.0
_MEMORY = "1g"
_ROLES = "org.apache.spark.deploy"


@dataclass
class Cluster:
    """A master and `workers` of one core each, whose files and logs are in `folder`.

    Its processes know the installed libraries, but no package of this project: what jobs import
    comes with them, as on any cluster. `processes` are `master`, `worker-1` and so on; executors
    belong to the process group of their worker.
    """

    folder: Path
    workers: int = 2
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    master: str = ""

    def start(self) -> None:
        """Start it and wait until every worker is at the master. Raises JobError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = ["--host", HOST, "--port", "0", "--webui-port", "0"]
        self._launch("master", [f"{_ROLES}.master.Master", *at])
        self.master = self._said("master", r"Starting Spark master at (spark://\S+)")
        size = ["--cores", "1", "--memory", _MEMORY, "--work-dir", "."]
        names = [f"worker-{number}" for number in range(1, self.workers + 1)]
        for name in names:
            self._launch(name, [f"{_ROLES}.worker.Worker", *at, *size, self.master])
        for name in names:
            self._said(name, r"(Successfully registered) with master")

    def stop(self) -> None:
        """Stop workers, their executors and the master, and wait for their end."""
        for process in reversed(self.processes.values()):
            _signal(process, signal.SIGTERM)
        for process in reversed(self.processes.values()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            _signal(process, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def submission(self, dist: Path, words: Sequence[str]) -> list[str]:
        """Return the command that submits a gristmill command; `dist` is what `make dist` made."""
        try:
            (packages,) = dist.glob("gristmill-*.zip")
        except ValueError:
            raise JobError(f"{dist}: expected one gristmill-VERSION.zip: make dist") from None
        return [
            *[str(jvm.spark_home() / "bin" / "spark-submit"), "--master", self.master],
            *["--deploy-mode", "client", "--properties-file", str(dist / "spark.conf")],
            *["--conf", f"spark.driver.host={HOST}", "--conf", f"spark.executor.memory={_MEMORY}"],
            *["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=4"],
            *["--conf", "spark.databricks.delta.snapshotPartitions=2"],
            *["--conf", f"spark.driver.extraJavaOptions={jvm.QUICK_COMPILER}"],
            *["--conf", f"spark.executor.extraJavaOptions={jvm.QUICK_COMPILER}"],
            *["--jars", ",".join(str(it) for it in sorted(jvm.jars().iterdir()))],
            *["--py-files", str(packages), str(dist / "submit.py"), *words],
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of cluster and submitter: this process's, but for the path of packages.

        Folders on PYTHONPATH are not searched for .pth files, so that an editable installation of
        this project is not found through them.
        """
        return os.environ | {
            "SPARK_HOME": str(jvm.spark_home()),
            "SPARK_LOCAL_IP": HOST,
            "SPARK_DAEMON_MEMORY": "256m",
            "PYSPARK_PYTHON": str(Path(sys.base_prefix, "bin", "python3")),
            "PYTHONPATH": sysconfig.get_path("purelib"),
        }

    def _launch(self, name: str, role: list[str]) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        with (folder / "log").open("wb") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603
                [jvm.spark_home() / "bin" / "spark-class", *role],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _said(self, name: str, pattern: str) -> str:
        """Wait until a process logs what the pattern describes; return the pattern's group."""
        log, process = self.folder / name / "log", self.processes[name]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if found := re.search(pattern, log.read_text("utf-8", "replace")):
                return found[1]
            time.sleep(0.05)
        said = jvm.tail(log.read_text("utf-8", "replace"))
        raise JobError(f"Spark's {name} did not come up; the end of its log {log}:\n{said}")


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and its executors, which may be gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)

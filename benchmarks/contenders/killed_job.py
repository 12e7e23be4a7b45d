"""A job as a command: whole, or killed when half of its rows are answered and then run again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from bench import tables
from bench.processes import tree
from bench.serving import Options, Prepare, Work, serve
from contenders.gristmill_batch import settings

from chains.models.fake.endpoint import Call, FakeEndpoint, FakeSettings

GRISTMILL = str(Path(sys.executable).parent / "gristmill")
PATIENCE_SECONDS = 60


class Job:
    """The command of a task, against an endpoint."""

    def __init__(self, options: Options, task: dict[str, Any], url: str) -> None:
        self._log = Path(task["out"] + ".log")
        if task["job"] == "gristmill":
            self._command = batch(options, task, url)
        else:
            given = task | {"work": options["work"], "url": url}
            module = [sys.executable, "-m", "contenders.plain_job"]
            self._command = [*module, task["job"], json.dumps(given)]

    def start(self) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        with self._log.open("a") as log:
            return subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def finish(self) -> dict[str, float]:
        """Run it to its end; return its seconds, and those that it says of itself."""
        begin = time.perf_counter()
        running = self.start()
        said, _ = running.communicate()
        seconds = time.perf_counter() - begin
        if running.returncode != 0:
            raise RuntimeError(self._failure())
        report = json.loads(said.splitlines()[-1])
        return {"seconds": seconds, "of_job": sum(report["seconds"].values())}

    def kill_when(self, endpoint: FakeEndpoint, answered: int) -> None:
        """Start it, and kill it with all that it has started when so many calls are answered."""
        running = self.start()
        while not is_answered(endpoint, answered):
            if running.poll() is not None:
                raise RuntimeError(self._failure())
        processes = tree(running.pid)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        psutil.wait_procs(processes, PATIENCE_SECONDS)

    def _failure(self) -> str:
        return f"the job ended by itself: {self._log.read_text()[-2000:]}"


def batch(options: Options, task: dict[str, Any], url: str) -> list[str]:
    """Write the settings of a batch; return its command."""
    endpoint = {"base_url": url, "concurrency": task["slots"] // 2}
    ask = {"spec": "endpoint:fake/m", "endpoints": {"fake": endpoint}}
    path = Path(task["out"] + ".yml")
    path.write_text(settings(options, task | {"ask": ask}, "").model_dump_json(exclude_unset=True))
    return [GRISTMILL, "batch", str(path), "--set", "spark.master=local[2]", "--json", "--yes"]


def is_answered(endpoint: FakeEndpoint, number: int) -> bool:
    """Wait a second for so many answers."""
    try:
        endpoint.wait_for(lambda calls: sum(it.whole for it in calls) >= number, timeout=1)
    except TimeoutError:
        return False
    return True


def make(options: Options) -> Prepare:
    def prepare(task: dict[str, Any]) -> Work:
        def run() -> dict[str, Any]:
            with FakeEndpoint(FakeSettings(latency=task["latency"])) as endpoint:
                job = Job(options, task, endpoint.base_url)
                if task["step"] == "killed":
                    job.kill_when(endpoint, task["rows"] // 2)
                done = job.finish()
                return done | found(task, endpoint.calls())

        return run

    return prepare


def found(task: dict[str, Any], calls: list[Call]) -> dict[str, int]:
    """Return what the endpoint and the target have seen."""
    asked = tables.read(task["table"], "id").column("id").to_pylist()
    written = Counter(tables.read(task["out"], "id").column("id").to_pylist())
    return {
        "asked": len(calls),
        "again": len(calls) - len({it.key for it in calls}),
        "lost": sum(id not in written for id in asked),
        "doubled": sum(count - 1 for count in written.values()),
    }


if __name__ == "__main__":
    serve(make)

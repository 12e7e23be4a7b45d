"""Jobs whose executors start model servers: a local cluster, real servers, and what kills leave."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake
from ending import assert_ended, wait_until
from rounds import long

from chains import Parameters, load_chain, load_model, resolve_model
from jobs import jvm

pytestmark = pytest.mark.process

COMMAND = str(Path(sys.executable).parent / "gristmill")
SMALL = str(Path(__file__).parents[1] / "support" / "small_server.py")
DOCUMENTS = {f"r{i:02d}": f"r{i:02d} the mill and the river {i * i}" for i in range(24)}
PARAMETERS = {"max_output_tokens": 8}
EXECUTORS = 2
SIZED_FOR_A_CPU = ["--cb-block-size", 16, "--cb-num-blocks", 512, "--cb-max-batch-tokens", 512]
CLUSTER = {
    "spark.executor.memory": "1g",
    "spark.worker.resource.gpu.amount": 1,
    "spark.executor.resource.gpu.amount": 1,
    "spark.task.resource.gpu.amount": 1,
}


class Job:
    """A batch job in a process group of its own, its servers' folders in a folder of its own."""

    def __init__(self, folder, model, sidecar, master, conf):
        self.folder = folder
        (folder / "tmp").mkdir()
        rows = pa.table({"id": list(DOCUMENTS), "body": list(DOCUMENTS.values())})
        write_deltalake(f"{folder}/source", rows)
        chain = {"name": "summarize", "model": f"path:{model}", "engine": "sidecar"}
        settings = {
            "source": {"table": "./source", "key": "id", "columns": {"document": "body"}},
            "target": {"table": "./target"},
            "chain": chain | {"parameters": PARAMETERS},
            "ledger": {"table": "./ledger"},
            "sidecar": sidecar,
            "spark": {"master": master, "conf": conf},
        }
        (folder / "job.yml").write_text(yaml.safe_dump(settings))
        environment = {"TMPDIR": f"{folder}/tmp", "SPARK_HOME": str(jvm.spark_home())}
        with (folder / "printed").open("w") as printed:
            self.process = subprocess.Popen(
                [COMMAND, "batch", "job.yml"],
                cwd=folder,
                env=os.environ | environment,
                start_new_session=True,
                stdout=printed,
                stderr=printed,
            )

    def folders(self):
        """Return the folders of its servers."""
        return [path.parent for path in self.folder.glob("tmp/gristmill-*/sidecars/*/*/plan.json")]

    def ready(self):
        """Return the servers that are ready now, each with its executor."""
        assert self.process.poll() is None, (self.folder / "printed").read_text()[-3000:]
        begun = [it for it in self.folders() if (it / "state.json").exists()]
        told = [(it, json.loads((it / "state.json").read_text())) for it in begun]
        return [
            (psutil.Process(state["pid"]), psutil.Process(int(folder.parent.name)))
            for folder, state in told
            if state["ready"]
        ]

    def logs(self):
        """Return what each server and its keeper printed."""
        return [(folder / "server.log").read_text() for folder in self.folders()]

    def answers(self):
        """Return what the model said to each row, whole or cut at its token limit."""
        paths = [f"{self.folder}/{it}" for it in ("target", "target_errors")]
        tables = [DeltaTable(it) for it in paths if DeltaTable.is_deltatable(it)]
        rows = [row for it in tables for row in it.to_pyarrow_table().to_pylist()]
        assert {row["error"]["code"] for row in rows if row["error"]} <= {"incomplete"}
        return {row["id"]: row["result"] or row["raw"] for row in rows}


def in_process(model):
    """Return what the model says to each row without a server."""
    chain = replace(load_chain("summarize"), parameters=Parameters(**PARAMETERS))
    loaded = load_model(resolve_model(f"path:{model}"))
    done = chain.complete([{"document": it} for it in DOCUMENTS.values()], loaded)
    return {key: it.result or it.raw for key, it in zip(DOCUMENTS, done, strict=True)}


@pytest.fixture
def start(tmp_path, tiny_model):
    """Return a function that starts a job with this model; what is left of it is killed."""
    jobs = []

    def start(sidecar, master="local[2]", conf=()):
        jobs.append(Job(tmp_path, tiny_model, sidecar, master, dict(conf)))
        return jobs[-1]

    yield start
    for job in jobs:
        left = [psutil.Process(job.process.pid)] if job.process.poll() is None else []
        for process in [it for top in left for it in [*top.children(recursive=True), top]]:
            process.kill()
        job.process.wait()


@pytest.fixture
def cluster(tmp_path):
    """Return the settings of a local cluster of two executors; each finds GPU 5."""
    script = tmp_path / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["5"]}'\n""")
    script.chmod(0o700)
    found = {
        "spark.worker.resource.gpu.discoveryScript": str(script),
        "spark.executor.extraClassPath": f"{jvm.jars()}/*",
    }
    return {"master": f"local-cluster[{EXECUTORS},1,1024]", "conf": CLUSTER | found}


@pytest.fixture
def held(tmp_path):
    """Return a small server, and the file that keeps it from answering."""
    hold = tmp_path / "hold"
    hold.touch()
    command = ["{python}", SMALL, "{port}", "{token}", str(hold)]
    return {"kind": "command", "command": command}, hold


@long
def test_each_executor_serves_one_copy_of_the_weights(start, cluster, tiny_model):
    """Counted: servers started == executors; what they say is what the model says in process."""
    job = start({"arguments": SIZED_FOR_A_CPU}, **cluster)
    assert job.process.wait(140) == 0, (job.folder / "printed").read_text()[-3000:]
    assert job.answers() == in_process(tiny_model)
    logs = job.logs()
    assert [len(re.findall(r"server \d+ started", log)) for log in logs] == [1] * EXECUTORS
    assert all("(GPUs 5)" in log for log in logs)
    assert sum(log.count("POST /v1/chat/completions") for log in logs) == len(DOCUMENTS)
    wait_until(lambda: all("keeper" in log and ": ended: its owner" in log for log in job.logs()))


def test_a_server_that_cannot_start_ends_the_job_with_what_it_printed(start):
    refuses = "import sys; sys.exit('serve: no option ' + sys.argv[1])"
    job = start({"kind": "command", "command": ["{python}", "-c", refuses, "--fast", "{port}"]})
    assert job.process.wait(100) == 1
    printed = (job.folder / "printed").read_text()
    assert "exit code 1 before it was ready" in printed
    assert "serve: no option --fast" in printed


@long
def test_a_killed_executor_takes_its_server_along_and_the_job_ends_well(start, cluster, held):
    server, hold = held
    job = start(server, **cluster)
    servers = wait_until(lambda: len(job.ready()) == EXECUTORS and job.ready(), 100)
    (killed, executor), (other, _) = servers
    executor.kill()
    assert_ended(killed)
    hold.unlink()
    assert job.process.wait(100) == 0
    assert job.answers().keys() == DOCUMENTS.keys()
    assert_ended(other)


@long
def test_a_killed_driver_leaves_no_server(start, held):
    server, _ = held
    job = start(server)
    ((left, executor),) = wait_until(job.ready, 100)
    job.process.send_signal(signal.SIGKILL)
    assert_ended(executor, left)

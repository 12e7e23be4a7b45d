"""Jobs submitted to a Spark cluster as its user submits them, away from the checkout."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from messages import document, record
from rounds import long
from submitted import ROOT

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.cluster import Cluster
from jobs.producer import produce

pytestmark = [long, pytest.mark.process]

ROWS = 12
IN_FLIGHT = 4  # two calls in each of two workers


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Return a folder with what `make dist` makes and spark-submit needs."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    wheel.rename(folder / f"{wheel.name.removesuffix('-py3-none-any.whl')}.zip")
    for name in ("submit.py", "spark.conf"):
        shutil.copy(ROOT / "conf/cluster" / name, folder)
    return folder


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Return a cluster, all of whose descendants carry its folder in their environment."""
    monkeypatch.setenv("CLUSTER_UNDER_TEST", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with Cluster(tmp_path / "cluster") as cluster:
        yield cluster
    assert not descendants(tmp_path)


def descendants(folder, seconds=20):
    """Return the processes that are left of a cluster; their end may take a moment."""
    mark = f"CLUSTER_UNDER_TEST={folder}".encode()
    deadline = time.monotonic() + seconds
    while left := [it for it in Path("/proc").iterdir() if it.name.isdigit() and has(it, mark)]:
        if time.monotonic() > deadline:
            return [(it / "cmdline").read_bytes() for it in left]
        time.sleep(0.1)
    return []


def has(process, mark):
    try:
        return mark in (process / "environ").read_bytes() and process.name != str(os.getpid())
    except OSError:
        return False


@pytest.fixture
def endpoint():
    """Return an endpoint slow enough to be in the middle of a job."""
    with FakeEndpoint(FakeSettings(latency=1.0)) as fake:
        yield fake


@pytest.fixture
def submit(cluster, dist, endpoint, tmp_path):
    """Return a function that submits a job with settings of this folder."""

    def submit(name, *words):
        given = [
            name,
            f"--conf={tmp_path}/{'stream' if name == 'stream' else 'job'}.yml",
            "--chain.model=endpoint:fake/m",
            f"--endpoints.fake.base_url={endpoint.base_url}",
            "--endpoints.fake.concurrency=2",
            *words,
        ]
        with (tmp_path / "driver.log").open("ab") as log:
            command = cluster.submission(dist, given)
            return subprocess.Popen(
                command, cwd=tmp_path, env=cluster.environment, stdout=log, stderr=log
            )

    return submit


@pytest.fixture
def source(job, tmp_path):
    """Write the source of the job of this folder."""
    job()
    write_source(tmp_path, "first")


def write_source(folder, text):
    keys = [f"r{i:02d}" for i in range(ROWS)]
    rows = pa.table({"id": keys, "body": [f"key={it} {text}" for it in keys]})
    write_deltalake(f"{folder}/source", rows, mode="overwrite")


def target(folder, column):
    rows = DeltaTable(f"{folder}/target").to_pyarrow_table().to_pylist()
    return {row["id"]: row[column] for row in rows}


def check_whole(folder):
    found = target(folder, "result")
    assert found.keys() == {f"r{i:02d}" for i in range(ROWS)}
    assert all(f"answer to {key}:" in result for key, result in found.items())


def succeeds(driver, folder):
    assert driver.wait(140) == 0, (folder / "driver.log").read_text()[-3000:]


def test_neither_cluster_nor_submitter_find_the_checkout(cluster, tmp_path):
    command = [
        cluster.environment["PYSPARK_PYTHON"],
        "-c",
        "import pyspark, pyarrow; import chains",
    ]
    tried = subprocess.run(
        command, cwd=tmp_path, env=cluster.environment, capture_output=True, text=True
    )
    assert "No module named 'chains'" in tried.stderr


def test_a_batch_then_a_refresh_of_what_changed(submit, source, endpoint, tmp_path):
    succeeds(submit("batch"), tmp_path)
    check_whole(tmp_path)
    before = target(tmp_path, "fingerprint")
    write_source(tmp_path, "second")
    succeeds(submit("refresh"), tmp_path)
    check_whole(tmp_path)
    assert len(endpoint.calls()) == 2 * ROWS
    assert before.items().isdisjoint(target(tmp_path, "fingerprint").items())


def test_a_stream_takes_what_is_there(submit, broker, settings, topic, tmp_path):
    settings()
    produce(broker.bootstrap, topic, [record(document(number)) for number in range(ROWS)])
    succeeds(submit("stream", "--available-now=true"), tmp_path)
    rows = DeltaTable(f"{tmp_path}/target").to_pyarrow_table().to_pylist()
    assert len(rows) == ROWS
    assert all(row["error"] is None for row in rows)


def test_a_killed_worker_costs_at_most_what_was_in_flight(
    submit, cluster, source, endpoint, tmp_path
):
    driver = submit("batch")
    endpoint.wait_for(lambda calls: len(calls) >= ROWS // 3, timeout=100)
    os.killpg(cluster.processes["worker-2"].pid, signal.SIGKILL)
    succeeds(driver, tmp_path)
    check_whole(tmp_path)
    assert len(endpoint.calls()) <= ROWS + IN_FLIGHT


def test_a_killed_submitter_leaves_no_process(submit, cluster, source, endpoint, tmp_path):
    driver = submit("batch")
    endpoint.wait_for(lambda calls: len(calls) > 0, timeout=100)
    driver.kill()
    driver.wait()
    cluster.stop()
    assert not descendants(tmp_path)


def test_where_no_executor_comes_the_job_says_so_and_writes_nothing(
    submit, cluster, source, endpoint, tmp_path
):
    for name in ("worker-1", "worker-2"):
        os.killpg(cluster.processes[name].pid, signal.SIGKILL)
    driver = submit("batch", "--spark.executor_seconds=5")
    assert driver.wait(140) == 1
    said = (tmp_path / "driver.log").read_text("utf-8")
    assert "JobError: no executor came to the driver within 5 s" in said
    assert "spark.driver.host" in said
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "ledger").exists()
    assert not endpoint.calls()

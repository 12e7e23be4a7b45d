"""A job over a table through the provider's batch API: paid for once, whatever happens."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from rounds import long

from chains.errors import SettingsError
from chains.models.fake.batches import BatchSettings
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch
from jobs.pinning import pin_stream
from jobs.settings import load_settings_of
from jobs.stream_settings import StreamSettings

COMMAND = str(Path(sys.executable).parent / "gristmill")
KEYS = [f"r{i:02d}" for i in range(12)]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the job's source: a row for each key."""

    def write(*keys):
        rows = pa.table({"id": list(keys), "body": [f"key={it} text" for it in keys]})
        write_deltalake(f"{tmp_path}/source", rows, mode="overwrite")

    return write


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a table of the job, by the rows' keys."""

    def read(name):
        rows = DeltaTable(f"{tmp_path}/{name}").to_pyarrow_table().to_pylist()
        assert len({row["id"] for row in rows}) == len(rows)
        return {row["id"]: row for row in rows}

    return read


def at(endpoint, *more):
    return (
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.mode=batch",
        "endpoints.fake.attempts=1",
        "endpoints.fake.batch_poll_seconds=0",
        "endpoints.fake.batch_requests=5",
        *more,
    )


def paid(endpoint):
    return sorted(call.key for call in endpoint.calls())


def files(tmp_path):
    return list((tmp_path / "ledger/_batches").glob("*.parquet"))


@long
@pytest.mark.spark
def test_each_row_has_its_own_outcome_and_nothing_is_left(spark, job, write, read, tmp_path):
    write(*KEYS)
    faults = {"r03": {"status": 400}, "r04": {"status": 500, "times": 1}}
    with FakeEndpoint(FakeSettings(faults=faults, batches=BatchSettings(polls=3))) as endpoint:
        report = run_batch(spark, job(*at(endpoint)))
        assert report.completed == 10
        assert report.errors == {"invalid_request": 1, "server_error": 1}
        assert not report.is_pending
        rows = read("target")
        assert all(f"answer to {key}:" in rows[key]["result"] for key in rows)
        assert files(tmp_path) == []
        run_batch(spark, job(*at(endpoint)))
        assert paid(endpoint) == sorted([*KEYS, "r04"])
        run_batch(spark, job(*at(endpoint, "endpoints.fake.mode=online")))
        assert len(endpoint.calls()) == len(KEYS) + 1
    assert read("target").keys() == set(KEYS) - {"r03"}


@long
@pytest.mark.spark
def test_what_does_not_end_in_time_is_pending_until_a_later_run(spark, job, write, read, tmp_path):
    """Rows that come meanwhile are submitted beside those that wait."""
    write(*KEYS[:8])
    with FakeEndpoint(FakeSettings(batches=BatchSettings(polls=None))) as endpoint:
        given = at(endpoint, "endpoints.fake.batch_wait_seconds=0")
        report = run_batch(spark, job(*given))
        assert report.errors == {"awaiting_batch": 8}
        assert report.is_pending
        write(*KEYS)
        assert run_batch(spark, job(*given)).errors == {"awaiting_batch": 12}
        assert paid(endpoint) == KEYS
        endpoint.finish_batches()
        assert run_batch(spark, job(*at(endpoint))).completed == 12
        assert paid(endpoint) == KEYS
    assert read("target").keys() == set(KEYS)
    assert read("target_errors") == {}
    assert files(tmp_path) == []


@long
@pytest.mark.spark
def test_what_expired_is_submitted_again_by_the_next_run(spark, job, write, read, tmp_path):
    write(*KEYS)
    batches = BatchSettings(end="expired", answered=3)
    with FakeEndpoint(FakeSettings(batches=batches)) as endpoint:
        report = run_batch(spark, job(*at(endpoint, "endpoints.fake.batch_requests=12")))
        assert (report.completed, report.errors) == (3, {"batch_unanswered": 9})
        assert report.is_pending
        run_batch(spark, job(*at(endpoint, "endpoints.fake.batch_requests=3")))
        assert paid(endpoint) == KEYS
    assert read("target").keys() == set(KEYS)


@long
@pytest.mark.spark
def test_a_job_leaves_the_batches_of_another_one_alone(spark, job, write, read, tmp_path):
    """Both share ledger, chain and model; half of a batch's prompts are only the other job's."""
    write(*KEYS[:4])
    with FakeEndpoint(FakeSettings(batches=BatchSettings(polls=None))) as endpoint:
        run_batch(spark, job(*at(endpoint, "endpoints.fake.batch_wait_seconds=0")))
        endpoint.finish_batches()
        write(*KEYS[2:6])
        run_batch(spark, job(*at(endpoint, f"target.table={tmp_path}/other")))
        assert read("other").keys() == set(KEYS[2:6])
        write(*KEYS[:4])
        run_batch(spark, job(*at(endpoint)))
        assert paid(endpoint) == KEYS[:6]
    assert read("target").keys() == set(KEYS[:4])
    assert files(tmp_path) == []


@long
@pytest.mark.process
def test_killed_after_it_submitted_it_pays_nothing_again(write, read, tmp_path):
    """With kill -9, the driver, its JVM and its workers, while the provider works."""
    write(*KEYS)
    conf = tmp_path / "job.yml"
    conf.write_text(
        "source: {table: ./source, key: id, columns: {document: body}}\n"
        "target: {table: ./target, mode: append}\n"
        "chain: {name: summarize}\n"
        "ledger: {table: ./ledger}\n"
    )
    with FakeEndpoint(FakeSettings(batches=BatchSettings(polls=None))) as endpoint:
        sets = [it for assignment in at(endpoint) for it in ("--set", assignment)]
        command = [COMMAND, "batch", str(conf), *sets]
        quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        killed = subprocess.Popen(command, start_new_session=True, **quiet)
        endpoint.wait_for(lambda calls: len(calls) == len(KEYS), timeout=300)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(60)
        endpoint.finish_batches()
        assert subprocess.run(command, timeout=300, **quiet).returncode == 0
        assert paid(endpoint) == KEYS
    rows = read("target")
    assert rows.keys() == set(KEYS)
    assert all(f"answer to {key}:" in rows[key]["result"] for key in rows)


def test_a_stream_refuses_it(tmp_path):
    conf = tmp_path / "stream.yml"
    conf.write_text(
        """
        source: {kafka: {bootstrap: "localhost:9", topic: t, format: text},
                 columns: {document: value}}
        target: {table: ./target, mode: append}
        chain: {name: summarize, model: endpoint:fake/m}
        endpoints: {fake: {base_url: "http://localhost:9/v1", mode: batch}}
        ledger: {table: ./ledger}
        checkpoint: ./checkpoint
        """
    )
    with pytest.raises(SettingsError, match="found mode batch"):
        pin_stream(load_settings_of(StreamSettings, conf))

"""A job killed at any point and run again loses nothing and doubles nothing in the target."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from killing import killed_at
from rounds import long

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings

pytestmark = pytest.mark.process

COMMAND = str(Path(sys.executable).parent / "gristmill")
ROWS = 12
IN_FLIGHT = 4

KILLED_AT = killed_at(
    "from udfs import delta, journal",
    {"journal": "journal.Journal.finish", "target": "delta.Table.append"},
)


@pytest.fixture
def conf(tmp_path):
    """Return settings of a job over rows that carry their key."""
    path = tmp_path / "job.yml"
    path.write_text(
        "source: {table: ./source, key: id, columns: {document: body}}\n"
        "target: {table: ./target, mode: append}\n"
        "chain: {name: summarize}\n"
        "ledger: {table: ./ledger}\n"
    )
    keys = [f"r{i:02d}" for i in range(ROWS)]
    write_deltalake(
        f"{tmp_path}/source", pa.table({"id": keys, "body": [f"key={it} text" for it in keys]})
    )
    return path


def run(command, conf, endpoint, folder, **options):
    """Start a batch job in a process group of its own."""
    given = [
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.concurrency=2",
    ]
    sets = [it for assignment in given for it in ("--set", assignment)]
    return subprocess.Popen(
        [*command, "batch", str(conf), *sets],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        **{"stderr": subprocess.DEVNULL, **options},
    )


def check_whole(folder):
    rows = DeltaTable(f"{folder}/target").to_pyarrow_table().to_pylist()
    assert sorted(row["id"] for row in rows) == [f"r{i:02d}" for i in range(ROWS)]
    assert all(f"answer to {row['id']}:" in row["result"] for row in rows)


@long
def test_killed_at_every_step_after_the_answers_pays_nothing_again(conf, tmp_path):
    """Each run goes on where the one before it was killed."""
    with FakeEndpoint() as endpoint:
        for step in ("journal-after", "target-before", "target-after"):
            killed = run([sys.executable, "-c", KILLED_AT, step], conf, endpoint, tmp_path)
            assert killed.wait(300) == -signal.SIGKILL
        assert run([COMMAND], conf, endpoint, tmp_path).wait(300) == 0
        assert len(endpoint.calls()) == ROWS
    check_whole(tmp_path)


def test_killed_while_asking_pays_again_only_what_was_in_flight(conf, tmp_path):
    """Two calls in each of two workers; what they had answered is in the journal."""
    with FakeEndpoint() as endpoint:
        killed = run([COMMAND], conf, endpoint, tmp_path)
        endpoint.wait_for(lambda calls: len(calls) >= ROWS // 2, timeout=300)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(60)
        assert run([COMMAND], conf, endpoint, tmp_path).wait(300) == 0
        assert len(endpoint.calls()) <= ROWS + IN_FLIGHT
    check_whole(tmp_path)


def test_an_interrupt_while_asking_ends_with_one_line(conf, tmp_path):
    """As Ctrl-C does it: to the whole group, in a process that does not ignore it."""
    with FakeEndpoint(FakeSettings(latency=10)) as endpoint:
        stopped = run(
            [COMMAND],
            conf,
            endpoint,
            tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        endpoint.wait_for(lambda calls: len(calls) > 0, timeout=300)
        os.killpg(stopped.pid, signal.SIGINT)
        told = stopped.communicate(timeout=60)[1].split("\n", 1)
    assert stopped.returncode == 130
    assert "answering 12 prompts" in told[0]
    assert told[1].strip() == "stopped; the next run goes on from the ledger"

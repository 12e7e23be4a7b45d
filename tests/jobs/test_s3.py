"""The real command with all its tables on an S3-compatible server, in sessions of its own."""

import logging
import os
import re
import signal
import subprocess
import sys

import pyarrow as pa
import pytest
from messages import document, record
from object_store import DENIED, EXPIRED, SECRET, ObjectStore
from rounds import long

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.producer import produce

pytestmark = [long, pytest.mark.process]

COMMAND = (sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())")
ROWS = 12
IN_FLIGHT = 4  # two calls in each of two workers
KEYS = [f"r{i:02d}" for i in range(ROWS)]
FILES = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from jobs.session import open_session
from jobs.settings import SparkSettings
from udfs.files import Place

spark = open_session(SparkSettings(master="local[2]", storage=("s3",)), Path("logs"))
folder = Place(spark, "{root}/a folder")

def write(number):
    try:
        (folder / "new").write(str(number).encode())
    except FileExistsError:
        return None
    return number

with ThreadPoolExecutor(4) as pool:
    (written,) = [it for it in pool.map(write, range(8)) if it is not None]
    assert (folder / "new").read() == str(written).encode()
    (folder / "beat").replace(b"0" * 100)
    beats = pool.map(lambda it: (folder / "beat").replace(b"%d" % (it % 10) * 100), range(60))
    for _ in beats:
        assert len(set((folder / "beat").read())) == 1
assert sorted(folder.names()) == ["beat", "new"]
spark.stop()
"""
BATCH = """
source: {{table: "{root}/source", key: id, columns: {{document: body}}}}
target: {{table: "{root}/target"}}
chain: {{name: summarize, model: endpoint:fake/m}}
endpoints: {{fake: {{base_url: "{url}", concurrency: 2, attempts: 1}}}}
ledger: {{table: "{root}/a ledger"}}
spark: {{storage: s3, master: "local[2]"}}
"""
STREAM = """
source:
  kafka: {{bootstrap: "{bootstrap}", topic: "{topic}", schema: "id string, body string, pages int"}}
  columns: {{document: body}}
target: {{table: "{root}/target", mode: append}}
chain: {{name: summarize, model: endpoint:fake/m}}
endpoints: {{fake: {{base_url: "{url}", concurrency: 2, attempts: 1}}}}
ledger: {{table: "{root}/ledger"}}
checkpoint: "{root}/checkpoint"
spark: {{storage: s3, master: "local[2]"}}
"""


@pytest.fixture
def store():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ObjectStore() as server:
        yield server


class Jobs:
    """Commands in a folder, on a store, with a fake endpoint; keeps what they told."""

    def __init__(self, folder, store, endpoint, name, text, **given):
        self.folder, self.store, self.endpoint, self.name = folder, store, endpoint, name
        root = f"s3a://{store.bucket}"
        (folder / "job.yml").write_text(text.format(root=root, url=endpoint.base_url, **given))
        self.started = 0

    def start(self, *words, name=None, **environment):
        self.started += 1
        with (self.folder / f"log-{self.started}").open("w") as log:
            return subprocess.Popen(
                [*COMMAND, name or self.name, "job.yml", *words],
                cwd=self.folder,
                env=os.environ | self.store.environment | environment,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def told(self, newest=0):
        return (self.folder / f"log-{newest or self.started}").read_text()

    def succeeds(self, *words, **given):
        assert self.start(*words, **given).wait(300) == 0, self.told()[-3000:]

    def kill_at(self, calls, *words):
        """Kill the command with all its processes when the endpoint has got so many calls."""
        job = self.start(*words)
        self.endpoint.wait_for(lambda made: len(made) >= calls, timeout=300)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait(60)

    def fails(self, *words, code=1, **environment):
        """Run it; return the one line that it tells at its end."""
        assert self.start(*words, **environment).wait(300) == code, self.told()[-3000:]
        *before, line = self.told().strip().splitlines()
        assert all("answering" in it for it in before), self.told()
        return line

    @property
    def paid(self):
        return len(self.endpoint.calls())


@pytest.fixture
def batch(tmp_path, store, endpoint):
    jobs = Jobs(tmp_path, store, endpoint, "batch", BATCH)
    write_source(store, "first")
    return jobs


def write_source(store, text):
    bodies = [f"key={key} {text}" for key in KEYS]
    store.write("source", pa.table({"id": KEYS, "body": bodies}), mode="overwrite")


def check_whole(store):
    rows = store.read("target")
    assert sorted(row["id"] for row in rows) == KEYS
    assert all(f"answer to {row['id']}:" in row["result"] for row in rows)


def test_a_batch_whose_tables_are_all_in_s3_pays_once(batch, store):
    batch.succeeds()
    check_whole(store)
    assert len(store.read("a ledger")) == batch.paid == ROWS
    assert not [it for it in store.names() if "parquet" in it and "/_journal/" in it]
    logs = [it.read_bytes() for it in batch.folder.rglob("*") if it.is_file()]
    assert not [it for it in logs if SECRET.encode() in it]


def test_a_new_file_in_s3_has_one_writer_and_a_replaced_one_is_read_whole(store, tmp_path):
    script = FILES.format(root=f"s3a://{store.bucket}")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | store.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[:2000]


def test_a_refresh_in_s3_asks_what_changed(batch, store):
    batch.succeeds()
    batch.succeeds()
    assert batch.paid == ROWS
    write_source(store, "second")
    batch.succeeds(name="refresh")
    check_whole(store)
    assert batch.paid == 2 * ROWS


def test_a_killed_run_goes_on_from_its_journal_in_s3(batch, store):
    batch.kill_at(ROWS // 2)
    batch.succeeds()
    check_whole(store)
    assert batch.paid <= ROWS + IN_FLIGHT


def test_two_runs_at_once_share_a_ledger_in_s3(batch, store):
    both = [batch.start("--set", f"target.table=s3a://{store.bucket}/{it}") for it in ("a", "b")]
    assert [it.wait(300) for it in both] == [0, 0], batch.told(1) + batch.told(2)
    assert len(store.read("a ledger")) == batch.paid == ROWS
    for target in ("a", "b"):
        assert sorted(row["id"] for row in store.read(target)) == KEYS
    assert not [it for it in store.names() if re.search("_writers/.", it)]


def test_a_stream_with_its_checkpoint_in_s3_goes_on_after_a_kill(broker, topic, store, tmp_path):
    given = {"bootstrap": broker.bootstrap, "topic": topic}
    with FakeEndpoint(FakeSettings(latency=0.2)) as endpoint:
        stream = Jobs(tmp_path, store, endpoint, "stream", STREAM, **given)
        produce(broker.bootstrap, topic, [record(document(it)) for it in range(ROWS)])
        stream.kill_at(ROWS // 2, "--available-now")
        produce(broker.bootstrap, topic, [record(document(it)) for it in range(ROWS, 2 * ROWS)])
        stream.succeeds("--available-now")
        assert len(store.read("target")) == 2 * ROWS
        assert stream.paid <= 2 * ROWS + IN_FLIGHT
        stream.succeeds("--available-now")
        assert len(store.read("target")) == 2 * ROWS


@pytest.mark.parametrize(
    ("refuse", "advice"),
    [(EXPIRED, "the credential has expired: renew it"), (DENIED, "give it the right to list")],
)
def test_a_refused_credential_is_told_before_anything_is_paid(batch, store, refuse, advice):
    before = store.names()
    store.refuse = refuse
    assert advice in batch.fails()
    store.refuse = None
    assert (store.names(), batch.paid) == (before, 0)


def test_what_is_wrong_with_a_store_is_told_in_a_line(batch):
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert "the store does not answer" in batch.fails(**nowhere)
    assert "set spark.storage: s3" in batch.fails("--set", "spark.storage=[]")
    assert "source.table 's3a://no-bucket/t'" in batch.fails(
        "--set", "source.table=s3a://no-bucket/t"
    )
    assert batch.paid == 0


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("/_alive", "the credential may not do this"),
        ("/.", "_journal: an executor cannot write here, so noth"),
    ],
)
def test_a_journal_that_cannot_be_written_stops_the_job_before_it_pays(batch, store, file, told):
    """The driver's lease, and what an executor's Python writes."""
    store.refuse = DENIED
    store.refused = lambda method, path: method == "PUT" and "_journal" in path and file in path
    assert told in batch.fails()
    assert batch.paid == 0

"""An executor's files: on a disk, and on a real S3-compatible server."""

import logging

import pyarrow as pa
import pytest
from object_store import DENIED, ObjectStore

from chains.errors import JobError
from udfs.storage import Folder, check_writable
from udfs.task_journal import TaskJournal

ROWS = pa.table({"x": [1, 2]})


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ObjectStore() as server:
        yield server


@pytest.fixture
def store(server, monkeypatch):
    """Return the server, named by nothing but the standard variables."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.refuse = None


@pytest.fixture(params=["path", "uri", "s3a"])
def uri(request, tmp_path, store):
    """Return a folder that is not there, named as Hadoop names it."""
    return {
        "path": f"{tmp_path}/a b%20c",
        "uri": f"file:{tmp_path}/a b%20c",
        "s3a": f"s3a://{store.bucket}/{tmp_path.name}/a b%20c/ü+#?",
    }[request.param]


def test_a_file_is_there_once_it_is_written(uri):
    folder = Folder(uri)
    assert folder.names() == []
    folder.write("b.parquet", ROWS)
    folder.write("a.parquet", ROWS)
    assert Folder(uri).names() == ["a.parquet", "b.parquet"]
    assert folder.read("a.parquet") == ROWS
    folder.delete("a.parquet")
    assert folder.names() == ["b.parquet"]


def test_the_name_is_hadoops_nothing_in_it_is_decoded(store, tmp_path):
    Folder(f"s3a://{store.bucket}/of {tmp_path.name}/100%25").write("a.parquet", ROWS)
    assert store.names("of ") == [f"of {tmp_path.name}/100%25/a.parquet"]


def test_a_small_file_is_one_request(store):
    before = len(store.requests)
    Folder(f"s3a://{store.bucket}/one").write("a.parquet", ROWS)
    assert [method for method, _ in store.requests[before:]] == ["PUT"]


def test_a_writable_folder_is_looked_at_once_and_left_empty(store):
    uri = f"s3a://{store.bucket}/writable"
    check_writable(uri)
    looked = len(store.requests)
    check_writable(uri)
    assert len(store.requests) == looked
    assert Folder(uri).names() == []


def test_where_answers_cannot_be_kept_is_told_before_any_is_asked_for(store):
    store.refuse, store.refused = DENIED, lambda method, path: method == "PUT"
    with pytest.raises(JobError, match=r"s3a://.*/denied: .*nothing was asked.*ACCESS_DENIED"):
        check_writable(f"s3a://{store.bucket}/denied")
    store.refuse = None
    check_writable(f"s3a://{store.bucket}/denied")


def test_a_task_journal_in_a_store_gives_each_answer_once(store):
    schema = pa.schema({"fingerprint": pa.string(), "error": pa.null()})
    folder = Folder(f"s3a://{store.bucket}/journal")
    first = TaskJournal(folder, schema, task=0)
    first.add([{"fingerprint": "a", "error": None}])
    first.add([{"fingerprint": "b", "error": None}])
    assert TaskJournal(folder, schema, task=0).found().keys() == {"a", "b"}
    first.close()
    assert TaskJournal(folder, schema, task=0).found().keys() == {"a", "b"}
    assert len(folder.names()) == 1

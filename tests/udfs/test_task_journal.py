"""A task's journal: whole files only, each row once, and what a later attempt finds."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.storage import Folder
from udfs.task_journal import ROWS_A_FILE, Span, TaskJournal, spans

ERROR = pa.struct([("code", pa.string()), ("retryable", pa.bool_())])
SCHEMA = pa.schema([("fingerprint", pa.string()), ("error", ERROR)])


@pytest.fixture
def folder(tmp_path):
    """Return a folder that is not there yet."""
    return Folder(f"{tmp_path}/ledger/_journal/run")


def rows(*fingerprints, error=None):
    return [{"fingerprint": it, "error": error} for it in fingerprints]


def written(folder):
    """Return the fingerprints that a reader of the journal gets."""
    files = (folder.read(span.name) for span in spans(folder.names()))
    return sorted(row["fingerprint"] for table in files for row in table.to_pylist())


def test_what_was_added_is_found_by_the_next_attempt_of_the_task(folder):
    TaskJournal(folder, SCHEMA, task=3).add(rows("a", "b"))
    again = TaskJournal(folder, SCHEMA, task=3)
    assert set(again.found()) == {"a", "b"}
    assert TaskJournal(folder, SCHEMA, task=4).found() == {}
    assert set(TaskJournal(folder, SCHEMA, task=4).found(all_tasks=True)) == {"a", "b"}


def test_an_error_that_may_pass_is_not_found(folder):
    journal = TaskJournal(folder, SCHEMA, 0)
    journal.add(rows("passes", error={"code": "timeout", "retryable": True}))
    journal.add(rows("lasts", error={"code": "refused", "retryable": False}))
    assert set(journal.found()) == {"lasts"}
    assert set(journal.found(passing=True)) == {"lasts", "passes"}


def test_an_answer_counts_before_an_error_that_may_pass(folder):
    journal = TaskJournal(folder, SCHEMA, 0)
    journal.add(rows("a"))
    journal.add(rows("a", error={"code": "timeout", "retryable": True}))
    assert journal.found(passing=True)["a"]["error"] is None


@given(groups=st.lists(st.integers(0, 300), max_size=12))
def test_every_row_is_there_once_at_any_moment(tmp_path_factory, groups):
    folder = Folder(str(tmp_path_factory.mktemp("journal")))
    journal, added = TaskJournal(folder, SCHEMA, 0), []
    for number, size in enumerate(groups):
        names = [f"{number}-{i}" for i in range(size)]
        journal.add(rows(*names))
        added += names
        assert written(folder) == sorted(added)
    journal.close()
    assert written(folder) == sorted(added)
    assert len(folder.names()) <= len(added) // ROWS_A_FILE + 1


class Killed(Folder):
    """A folder whose writer is killed before it deletes anything."""

    def delete(self, name):
        raise KeyboardInterrupt


def test_files_that_a_kill_left_beside_their_sum_are_read_once(folder):
    journal = TaskJournal(Killed(folder.uri), SCHEMA, 0)
    journal.add(rows("a"))
    journal.add(rows("b"))
    with pytest.raises(KeyboardInterrupt):
        journal.close()
    assert len(folder.names()) == 3
    assert written(folder) == ["a", "b"]


def test_journals_of_a_task_replace_and_hide_nothing_of_each_other(folder):
    """A driver that is started again gives its tasks the numbers that they had before."""
    for number in range(3):
        journal = TaskJournal(folder, SCHEMA, 0)
        journal.add(rows(f"{number}-a"))
        if number != 1:
            journal.add(rows(f"{number}-b"))
            journal.close()
    assert written(folder) == ["0-a", "0-b", "1-a", "2-a", "2-b"]


def test_files_of_earlier_versions_are_read(folder):
    """They were named by the number of the task's attempt."""
    table = pa.Table.from_pylist(rows("a"), SCHEMA)
    for name in ("00003.00000007.00000000-00000000", "00003.00000007.00000000-00000511"):
        folder.write(f"{name}.parquet", table)
    assert written(folder) == ["a"]
    assert set(TaskJournal(folder, SCHEMA, task=3).found()) == {"a"}


def test_files_that_become_one_while_they_are_read_are_found(folder):
    journal = TaskJournal(folder, SCHEMA, 0)
    journal.add(rows("a"))
    journal.add(rows("b"))

    class Closed(Folder):
        def read(self, name):
            journal.close()
            return super().read(name)

    again = TaskJournal(Closed(folder.uri), SCHEMA, 1)
    assert set(again.found(all_tasks=True)) == {"a", "b"}


def test_a_file_is_invisible_until_it_is_whole(folder, tmp_path):
    """What a killed writer leaves has a name that no reader looks at."""
    folder.write("whole.parquet", pa.table({"fingerprint": ["a"]}))
    (tmp_path / "ledger/_journal/run/.4be1").write_bytes(b"PAR1 half of")
    assert folder.names() == ["whole.parquet"]


def test_a_foreign_file_is_no_journal_file():
    assert Span.of("_SUCCESS") is None
    assert Span.of("part-00000-c000.snappy.parquet") is None
    span = Span(1, "2f", 3, 4)
    assert Span.of(span.name) == span


def test_storage_that_only_fsspec_knows_serves_too():
    folder = Folder("memory://ledger/_journal/run")
    folder.write("a.parquet", pa.table({"fingerprint": ["a"]}))
    assert folder.names() == ["a.parquet"]
    assert folder.read("a.parquet").to_pylist() == [{"fingerprint": "a"}]
    folder.delete("a.parquet")
    assert folder.names() == []

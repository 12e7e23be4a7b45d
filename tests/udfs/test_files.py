"""Small files through Hadoop's file systems."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from udfs.files import Place

pytestmark = pytest.mark.spark


@pytest.fixture
def folder(spark, tmp_path):
    return Place(spark, f"{tmp_path}/a b")


def test_of_many_writers_of_a_new_file_one_succeeds(folder):
    def write(number):
        try:
            (folder / "new").write(str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(4) as pool:
        (written,) = [it for it in pool.map(write, range(8)) if it is not None]
    assert (folder / "new").read() == str(written).encode()


def test_what_is_replaced_is_there_before_and_after(folder):
    for content in (b"first", b"second"):
        (folder / "file").replace(content)
        assert (folder / "file").read() == content


def test_names_are_those_of_files_that_are_not_hidden(folder):
    assert folder.names() == []
    for name in (".hidden", "b", "a"):
        (folder / name).replace(b"")
    assert sorted(folder.names()) == ["a", "b"]


def test_what_is_not_there_is_not_found(folder):
    with pytest.raises(FileNotFoundError, match="a b/nothing"):
        (folder / "nothing").read()
    assert (folder / "nothing").changed_at() is None
    (folder / "nothing").delete()

"""Files on the ledger's own storage, as an executor's Python reaches them: without the JVM."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from chains.errors import JobError

_HADOOP_NAMES = {"s3a": "s3", "s3n": "s3", "wasbs": "abfss"}
_OPTIONS = {"s3": "?allow_delayed_open=true"}  # one request for a small file, not three


@dataclass(frozen=True)
class Folder:
    """A folder as Hadoop names it: on this machine's disk, in what pyarrow knows, or else fsspec.

    Nothing in the name is percent-encoded. Credentials, and the address of a store that is not the
    cloud's own, are those of the executor's environment.
    """

    uri: str

    def names(self) -> list[str]:
        """Return the names of whole files; none where there is no folder."""
        files, path = self._place
        found = files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(it.base_name for it in found if not it.base_name.startswith("."))

    def write(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file that is there as a whole or not at all; make the folder for it.

        An object store shows a file once it is closed; elsewhere it gets its name at the end.
        """
        files, path = self._place
        if not isinstance(files, fs.LocalFileSystem | fs.HadoopFileSystem):
            pq.write_table(table, f"{path}/{name}", filesystem=files)
            return
        files.create_dir(path)
        hidden = f"{path}/.{uuid4().hex}"
        pq.write_table(table, hidden, filesystem=files)
        files.move(hidden, f"{path}/{name}")

    def read(self, name: str) -> pa.Table:
        """Return a Parquet file's rows."""
        files, path = self._place
        return pq.read_table(f"{path}/{name}", filesystem=files)

    def delete(self, name: str) -> None:
        """Delete a file."""
        files, path = self._place
        files.delete_file(f"{path}/{name}")

    @cached_property
    def _place(self) -> tuple[fs.FileSystem, str]:
        if self.uri.startswith("/"):
            return fs.LocalFileSystem(), self.uri
        scheme, _, rest = self.uri.partition(":")
        scheme = _HADOOP_NAMES.get(scheme, scheme)
        for options in (_OPTIONS.get(scheme, ""), ""):  # an older pyarrow does not know them
            with suppress(pa.ArrowInvalid):
                files, path = fs.FileSystem.from_uri(f"{scheme}:{quote(rest, safe='/:@')}{options}")
                return files, path
        from fsspec.core import url_to_fs

        foreign, path = url_to_fs(f"{scheme}:{rest}")
        return fs.PyFileSystem(fs.FSSpecHandler(foreign)), path


@cache
def check_writable(uri: str) -> None:
    """Write a file in a folder and delete it, once in a process.

    Raises JobError where that fails: what is asked now could not be kept.
    """
    folder, name = Folder(uri), f".{uuid4().hex}"
    try:
        folder.write(name, pa.table({}))
        folder.delete(name)
    except OSError as error:
        raise JobError(
            f"{uri}: an executor cannot write here, so nothing was asked: {error}. For a store"
            " it takes address and credentials from its own environment (docs/storage.md)"
        ) from None

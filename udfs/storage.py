"""Files on the ledger's own storage, as an executor's Python reaches them: without the JVM."""

from dataclasses import dataclass
from functools import cached_property
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

_HADOOP_NAMES = {"s3a": "s3", "s3n": "s3", "wasbs": "abfss"}


@dataclass(frozen=True)
class Folder:
    """A folder by path or URI: this machine's disk, whatever pyarrow knows, or else fsspec.

    Credentials are those of the executor's environment.
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
        scheme, separator, rest = self.uri.partition(":")
        uri = _HADOOP_NAMES.get(scheme, scheme) + separator + rest
        try:
            files, path = fs.FileSystem.from_uri(uri)
        except pa.ArrowInvalid:
            from fsspec.core import url_to_fs

            foreign, path = url_to_fs(uri)
            files = fs.PyFileSystem(fs.FSSpecHandler(foreign))
        return files, path

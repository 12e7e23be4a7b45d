"""Small files and folders on any storage that Spark can write, through Hadoop's file systems."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from py4j.java_gateway import JavaClass
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

_CONDITIONAL = "fs.option.create.conditional.overwrite"  # what S3A needs to refuse
_CHANGED = "RemoteFileChangedException"
_ANOTHER = re.compile("Status Code: (404|412)")  # how the stream of Hadoop 3.5 says so
_IS_THERE = ("FileAlreadyExistsException", _CHANGED)
_READS = 10


@dataclass(frozen=True)
class Place:
    """A path on a session's storage."""

    spark: SparkSession
    path: str

    def __truediv__(self, name: str) -> "Place":
        return Place(self.spark, f"{self.path}/{name}")

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return bool(self._files().exists(self._hadoop()))

    def names(self) -> list[str]:
        """Return the names in a folder, without hidden ones; none where there is no folder."""
        try:
            found = self._files().listStatus(self._hadoop())
        except Py4JJavaError as error:
            if _is(error, "FileNotFoundException"):
                return []
            raise
        names = (it.getPath().getName() for it in found)
        return [it for it in names if not it.startswith(".")]

    def changed_at(self) -> float | None:
        """Return when it was last changed, in seconds since 1970; None where there is nothing."""
        if not self.exists():
            return None
        return float(self._files().getFileStatus(self._hadoop()).getModificationTime()) / 1000

    def read(self) -> bytes:
        """Return a small file's content. Raises FileNotFoundError where there is none.

        S3A refuses to go on in a file that is replaced or deleted meanwhile: it is read anew then.
        """
        for attempt in range(1, _READS + 1):
            try:
                return self._read_once()
            except Py4JJavaError as error:
                if _is(error, "FileNotFoundException"):
                    raise FileNotFoundError(self.path) from None
                if attempt == _READS or not (_is(error, _CHANGED) or _ANOTHER.search(str(error))):
                    raise
        raise AssertionError("unreachable")

    def write(self, content: bytes) -> None:
        """Write a small file that is not there yet. Raises FileExistsError where it is.

        Of two writers at once one succeeds, on a disk as in an object store.
        """
        if self._files().getScheme() == "file":  # Hadoop's own looks before it writes
            local = Path(self._hadoop().toUri().getPath())
            local.parent.mkdir(parents=True, exist_ok=True)
            with local.open("xb") as file:
                file.write(content)
            return
        builder = self._files().createFile(self._hadoop()).recursive().overwrite(False)
        try:
            _fill(builder.opt(_CONDITIONAL, "true").build(), content)
        except Py4JJavaError as error:
            if _is(error, *_IS_THERE):
                raise FileExistsError(self.path) from None
            raise

    def replace(self, content: bytes) -> None:
        """Write a small file, whether it is there or not."""
        _fill(self._files().create(self._hadoop(), True), content)

    def delete(self) -> None:
        """Delete a file, or a folder with all that is in it."""
        self._files().delete(self._hadoop(), True)

    def copy_to(self, path: str) -> None:
        """Copy a file, or a folder with all that is in it, to a path that is not there."""
        jvm: Any = self.spark._jvm
        there, conf = Place(self.spark, path), self.spark._jsc.hadoopConfiguration()
        copy = JavaClass("org.apache.hadoop.fs.FileUtil", jvm._gateway_client).copy
        copy(self._files(), self._hadoop(), there._files(), there._hadoop(), False, conf)

    def _read_once(self) -> bytes:
        stream = self._files().open(self._hadoop())
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def _hadoop(self) -> Any:
        """Return Hadoop's path; by way of `_jvm`, each part of the class's name would be a call."""
        jvm: Any = self.spark._jvm
        return JavaClass("org.apache.hadoop.fs.Path", jvm._gateway_client)(self.path)

    def _files(self) -> Any:
        return self._hadoop().getFileSystem(self.spark._jsc.hadoopConfiguration())


def _fill(stream: Any, content: bytes) -> None:
    try:
        stream.write(bytearray(content))
    finally:
        stream.close()


def _is(error: Py4JJavaError, *kinds: str) -> bool:
    return error.java_exception.getClass().getSimpleName() in kinds

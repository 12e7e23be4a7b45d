"""Small files and folders on any storage that Spark can write, through Hadoop's file systems."""

from dataclasses import dataclass
from typing import Any

from py4j.java_gateway import JavaClass
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession


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
        """Return the names in a folder; none where there is no folder."""
        if not self.exists():
            return []
        return [it.getPath().getName() for it in self._files().listStatus(self._hadoop())]

    def changed_at(self) -> float | None:
        """Return when it was last changed, in seconds since 1970; None where there is nothing."""
        if not self.exists():
            return None
        return float(self._files().getFileStatus(self._hadoop()).getModificationTime()) / 1000

    def read(self) -> bytes:
        """Return a small file's content. Raises FileNotFoundError where there is none."""
        try:
            stream = self._files().open(self._hadoop())
        except Py4JJavaError as error:
            if "FileNotFoundException" in error.java_exception.getClass().getName():
                raise FileNotFoundError(self.path) from None
            raise
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def write(self, content: bytes) -> None:
        """Write a small file that is not there yet. Raises where it is."""
        self._write(content, overwrite=False)

    def replace(self, content: bytes) -> None:
        """Write a small file, whether it is there or not."""
        self._write(content, overwrite=True)

    def delete(self) -> None:
        """Delete a file, or a folder with all that is in it."""
        self._files().delete(self._hadoop(), True)

    def copy_to(self, path: str) -> None:
        """Copy a file, or a folder with all that is in it, to a path that is not there."""
        jvm: Any = self.spark._jvm
        there, conf = Place(self.spark, path), self.spark._jsc.hadoopConfiguration()
        copy = JavaClass("org.apache.hadoop.fs.FileUtil", jvm._gateway_client).copy
        copy(self._files(), self._hadoop(), there._files(), there._hadoop(), False, conf)

    def _write(self, content: bytes, overwrite: bool) -> None:
        stream = self._files().create(self._hadoop(), overwrite)
        try:
            stream.write(bytearray(content))
        finally:
            stream.close()

    def _hadoop(self) -> Any:
        """Return Hadoop's path; by way of `_jvm`, each part of the class's name would be a call."""
        jvm: Any = self.spark._jvm
        return JavaClass("org.apache.hadoop.fs.Path", jvm._gateway_client)(self.path)

    def _files(self) -> Any:
        return self._hadoop().getFileSystem(self.spark._jsc.hadoopConfiguration())

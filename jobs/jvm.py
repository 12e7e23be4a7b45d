"""What a Spark session on this machine needs beside pyspark: JVM packages and a class archive.

Both are made once and kept in the cache folder, so that a later start neither resolves packages nor
loads and verifies thousands of classes again (measured in docs/performance.md).
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from chains.errors import JobError
from jobs.settings import CACHE_VARIABLE


def cache_folder() -> Path:
    """Return where packages and archives are kept: $GRISTMILL_CACHE or ~/.cache/gristmill."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "gristmill")


@contextmanager
def spark_file(name: str) -> Iterator[Path]:
    """Give a file of conf/spark: from the checkout, or from the installed wheel."""
    packaged = resources.files("jobs") / "conf" / "spark" / name
    if packaged.is_file():
        with resources.as_file(packaged) as path:
            yield path
    else:
        yield Path(__file__).parent.parent / "conf" / "spark" / name


def jars() -> Path:
    """Return the folder of the JVM packages; resolve them with Spark's own Ivy the first time.

    Raises JobError where they cannot be had.
    """
    folder = cache_folder() / "jars" / _packages_digest()
    if not folder.is_dir():
        _resolve(folder)
    return folder


def class_archive() -> Path:
    """Return where the archive of loaded classes belongs, for this Java and these packages."""
    identity = f"{_java_version()} {_spark_home()} {_packages_digest()}"
    return cache_folder() / "classes" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.jsa"


def java() -> str:
    """Return the Java command. Raises JobError where there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise JobError("no Java found: Spark needs Java 17 or 21 on PATH or in JAVA_HOME")
    return found


def _resolve(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    ivy = next((_spark_home() / "jars").glob("ivy-*.jar"))
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
        spark_file("ivy.xml") as packages,
        spark_file("ivysettings.xml") as settings,
    ):
        found = Path(scratch) / "jars"
        command = [java(), "-jar", str(ivy), "-settings", str(settings), "-ivy", str(packages)]
        command += ["-cache", str(cache_folder() / "ivy"), "-confs", "default"]
        command += ["-types", "jar", "bundle", "-retrieve"]
        done = subprocess.run(  # noqa: S603
            [*command, f"{found}/[artifact]-[revision].[ext]"], capture_output=True, text=True
        )
        if done.returncode or not found.is_dir():
            raise JobError(f"the JVM packages cannot be resolved:\n{_tail(done.stdout)}")
        _publish(found, folder)


def _publish(found: Path, folder: Path) -> None:
    """Move a whole folder into place; another process may have been faster."""
    try:
        found.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _packages_digest() -> str:
    digest = hashlib.sha256()
    for name in ("ivy.xml", "ivysettings.xml"):
        with spark_file(name) as path:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _spark_home() -> Path:
    found = find_spec("pyspark")
    if found is None or found.origin is None:
        raise JobError("pyspark is not installed: pip install 'gristmill[spark]'")
    return Path(os.environ.get("SPARK_HOME") or Path(found.origin).parent)


def _java_version() -> str:
    done = subprocess.run([java(), "-version"], capture_output=True, text=True)  # noqa: S603
    return done.stderr


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])

"""What a Spark session or a Kafka broker on this machine needs: JVM packages, a class archive.

Both are made once and kept in the cache folder, so that a later start neither resolves packages nor
loads and verifies thousands of classes again (measured in docs/performance.md).
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from chains.errors import JobError
from jobs.settings import CACHE_VARIABLE

# The optimizing compiler costs a job of minutes more than it gives, and the quick one's own 48 MB
# are full after a few runs: see docs/performance.md.
QUICK_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
# The collector for few cores: it does nothing beside the job, and asks less of each write.
_COLLECTOR = "-XX:+UseParallelGC"
_ANY_COLLECTOR = re.compile(r"-XX:\+Use\w*GC\b")


def options(given: str) -> list[str]:
    """Return the options of a session's JVM on this machine; the user's are `given`, and come last.

    Java takes only one collector: theirs, where they name one.
    """
    collector = [] if _ANY_COLLECTOR.search(given) else [_COLLECTOR]
    return [QUICK_COMPILER, *collector, given]


def cache_folder() -> Path:
    """Return where packages and archives are kept: $GRISTMILL_CACHE or ~/.cache/gristmill."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "gristmill")


@contextmanager
def conf_file(name: str) -> Iterator[Path]:
    """Give a file of conf, like `kafka/ivy.xml`: from the checkout, or from the installed wheel."""
    packaged = resources.files("jobs").joinpath("conf", name)
    if packaged.is_file():
        with resources.as_file(packaged) as path:
            yield path
    else:
        yield Path(__file__).parent.parent / "conf" / name


def spark_file(name: str) -> AbstractContextManager[Path]:
    """Give a file of conf/spark."""
    return conf_file(f"spark/{name}")


def jars(packages: str = "spark") -> Path:
    """Return the folder of the JVM packages that conf/<packages>/ivy.xml names.

    They are resolved with Spark's own Ivy the first time. Raises JobError where they cannot be had.
    """
    folder = cache_folder() / "jars" / _packages_digest(packages)
    if not folder.is_dir():
        _resolve(packages, folder)
    return folder


def class_archive() -> Path:
    """Return where the archive of loaded classes belongs, for this Java and these packages."""
    identity = f"{_java_version()} {spark_home()} {_packages_digest('spark')}"
    return cache_folder() / "classes" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.jsa"


def java() -> str:
    """Return the Java command. Raises JobError where there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        raise JobError("no Java found: Java 17 or 21 is needed, on PATH or in JAVA_HOME")
    return found


def _resolve(packages: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    ivy = next((spark_home() / "jars").glob("ivy-*.jar"))
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
        conf_file(f"{packages}/ivy.xml") as wanted,
        spark_file("ivysettings.xml") as settings,
    ):
        found = Path(scratch) / "jars"
        command = [java(), "-jar", str(ivy), "-settings", str(settings), "-ivy", str(wanted)]
        command += ["-cache", str(cache_folder() / "ivy"), "-confs", "default"]
        command += ["-types", "jar", "bundle", "-retrieve"]
        done = subprocess.run(  # noqa: S603
            [*command, f"{found}/[artifact]-[revision].[ext]"], capture_output=True, text=True
        )
        if done.returncode or not found.is_dir():
            raise JobError(f"the JVM packages cannot be resolved:\n{tail(done.stdout)}")
        _publish(found, folder)


def _publish(found: Path, folder: Path) -> None:
    """Move a whole folder into place; another process may have been faster."""
    try:
        found.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _packages_digest(packages: str) -> str:
    digest = hashlib.sha256()
    for name in (f"{packages}/ivy.xml", "spark/ivysettings.xml"):
        with conf_file(name) as path:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def spark_home() -> Path:
    """Return Spark's folder: $SPARK_HOME or the pyspark that is installed."""
    if home := os.environ.get("SPARK_HOME"):
        return Path(home)
    found = find_spec("pyspark")
    if found is None or found.origin is None:
        raise JobError("pyspark is not installed: pip install 'gristmill[spark]'")
    return Path(found.origin).parent


def _java_version() -> str:
    done = subprocess.run([java(), "-version"], capture_output=True, text=True)  # noqa: S603
    return done.stderr


def tail(text: str, lines: int = 15) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.splitlines()[-lines:])

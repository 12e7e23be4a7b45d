"""What a session on this machine needs to reach an object store: a client, an address."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from chains.errors import JobError
from jobs import jvm
from jobs.failures import told

_LATE_CLASS_PATH = "SPARK_DIST_CLASSPATH"
_S3A = "spark.hadoop.fs.s3a"
_HURRIED = {"retry.limit": "1", "attempts.maximum": "1", "connection.establish.timeout": "5s"}


def add_clients(stores: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """Put the stores' JVM packages behind Spark's own, for a session that starts from here.

    Behind, since an archive of classes is only taken for a class path that begins as its own did.
    """
    paths = [f"{jvm.jars(it)}/*" for it in stores]
    there = environment.get(_LATE_CLASS_PATH, "").split(":")
    if new := [it for it in paths if it not in there]:
        environment[_LATE_CLASS_PATH] = ":".join([it for it in there if it] + new)


def conf(stores: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return Spark settings of the stores, from the environment that their Python clients read.

    Credentials are not among them: both kinds of client read those from the environment.
    """
    return _s3(environment) if "s3" in stores else {}


def _s3(environment: Mapping[str, str]) -> dict[str, str]:
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    found = {f"{_S3A}.endpoint.region": region} if region else {}
    if endpoint:
        found |= {f"{_S3A}.endpoint": endpoint, f"{_S3A}.path.style.access": "true"}
    return found


def check_reachable(spark: SparkSession, settings: Mapping[str, Any]) -> None:
    """Look once at each place in S3 that settings name, without the patience of a job.

    Raises JobError that names the setting where a place cannot be looked at.
    """
    jvm: Any = spark._jvm
    conf = jvm.org.apache.hadoop.conf.Configuration(spark._jsc.hadoopConfiguration())
    for key, value in _HURRIED.items():
        conf.set(f"fs.s3a.{key}", value)
    for key, place in _places(settings):
        path = jvm.org.apache.hadoop.fs.Path(place)
        try:
            files = jvm.org.apache.hadoop.fs.FileSystem.newInstance(path.toUri(), conf)
            # A listing: what S3 refuses of a HEAD it does not say why.
            files.listStatusIterator(path).hasNext()
            files.close()
        except Py4JJavaError as error:
            if error.java_exception.getClass().getSimpleName() != "FileNotFoundException":
                raise JobError(f"{key} {place!r}: {told(error)}") from None


def _places(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Give the dotted keys whose value is a path in S3."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _places(value, f"{within}{key}.")
        elif isinstance(value, str) and value.startswith("s3a://"):
            yield within + key, value

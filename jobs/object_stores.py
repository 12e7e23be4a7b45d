"""What a session on this machine needs to reach an object store: a client, an address."""

from collections.abc import Mapping, MutableMapping, Sequence

from jobs import jvm

_LATE_CLASS_PATH = "SPARK_DIST_CLASSPATH"
_S3A = "spark.hadoop.fs.s3a"


def add_clients(stores: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """Put the stores' JVM packages behind Spark's own, for a session that starts from here.

    Behind, since an archive of classes is only taken for a class path that begins as its own did.
    """
    earlier = environment.get(_LATE_CLASS_PATH)
    paths = [f"{jvm.jars(it)}/*" for it in stores]
    if paths:
        environment[_LATE_CLASS_PATH] = ":".join([*paths, *([earlier] if earlier else [])])


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

"""What Spark, Java and an executor's Python say when they fail, and what to do about it."""

import re

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException, PythonException

FOREIGN = (Py4JError, PySparkException)
_RENEW = "renew it and run again: what was answered is in the ledger"
_REMEDIES = (
    (
        r"Class org\.apache\.hadoop\.fs\.s3a\.\w+ not found",
        "the session has no client of S3: set spark.storage: s3; on a cluster see docs/storage.md",
    ),
    (r'No FileSystem for scheme "s3n?"', "outside Databricks and EMR, S3 is named s3a://"),
    (
        r'No FileSystem for scheme "(\w+)"|ClassNotFoundException: Class (\S+FileSystem) not found',
        "add the client of this storage to the session's packages, see docs/storage.md",
    ),
    (r"UnknownStoreException|NoSuchBucket|NO_SUCH_BUCKET", "make the bucket or name another one"),
    (r"ExpiredToken|EXPIRED_TOKEN|[Tt]oken has expired", f"the credential has expired: {_RENEW}"),
    (
        r"NoAuthWithAWS|NoAwsCredentials|Unable to load credentials",
        "no credential was found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the driver "
        "and for every executor",
    ),
    (
        r"InvalidAccessKeyId|INVALID_ACCESS_KEY_ID|SignatureDoesNotMatch|SIGNATURE_DOES_NOT_MATCH",
        f"the store does not know this credential: {_RENEW}",
    ),
    (
        r"AccessDenied|ACCESS_DENIED|Status Code: 403",
        "the credential may not do this: give it the right to list, read, write and delete here",
    ),
    (
        r"AWSBadRequestException",
        "the store does not say why: the region may be another (AWS_REGION), or the credential "
        "expired",
    ),
    (
        r"Unable to execute HTTP request|NETWORK_CONNECTION|UnknownHostException",
        "the store does not answer: look at its address (AWS_ENDPOINT_URL) and at the network",
    ),
    (
        r"Cannot find catalog plugin class|CATALOG_NOT_FOUND",
        "set spark.sql.catalog.NAME, and add the catalog's package to the session",
    ),
    (
        r"kafka.*(TimeoutException|DisconnectException)",
        "Kafka's brokers do not answer, or shut this client out: look at their addresses as they "
        "advertise them, and at source.kafka.options",
    ),
    (
        r"UnknownTopicOrPartition",
        "make the topic, or name another one: source.kafka.topic",
    ),
    (
        r"stopped SparkContext|SparkContext was shut ?down",
        "the session was ended from outside: look whether the master answers at its address, and "
        "whether executors reach the driver at spark.driver.host, see docs/submitting.md",
    ),
    (
        r"ModuleNotFoundError: No module named",
        "an executor's Python lacks a package: ship it as docs/submitting.md says",
    ),
)
_END = r"\n\s*at |\n\n(?:The above exception|During handling)|\s*\Z"  # Java's stack, Python's chain
_OWN = re.compile(rf"^chains\.errors\.\w+: (.+?)(?={_END})", re.MULTILINE | re.DOTALL)
_OF_JAVA = re.compile(r"^: (.+)", re.MULTILINE)
_OF_PYTHON = re.compile(r"^(?:[a-zA-Z_]\w*\.)*\w+(?:Error|Exception)\b.*", re.MULTILINE)
_PLAN_OF_A_STREAM = "=== Streaming Query ==="
_MOST_LINES, _LONGEST_LINE = 20, 500


def told(error: BaseException, said: str = "") -> str:
    """Return what went wrong, and what to do about it where that, or what else was `said`, tells.

    Of an executor's Python that is the exception itself. Of Java it is what it says first, and its
    first cause where nothing is known of what to do.
    """
    text = str(error)
    if own := _OWN.findall(text):  # raised on an executor, and complete
        return str(own[-1])
    advice, (first, cause) = remedy(said or text), _parts(error, text)
    return "; ".join(it for it in (first, advice or cause) if it)


def remedy(text: str) -> str:
    """Return what to do about an error by what was said of it, nothing where that is not known."""
    return next((advice for sign, advice in _REMEDIES if re.search(sign, text)), "")


def _parts(error: BaseException, text: str) -> tuple[str, str]:
    """Return what an error says first, and the first cause of a Java one."""
    if isinstance(error, PythonException):
        return str((_OF_PYTHON.findall(text) or [text])[-1]), ""
    said = text.partition(_PLAN_OF_A_STREAM)[0].splitlines()
    lines = [it[:_LONGEST_LINE] for it in said if it.strip()]
    *_, cause = ["", *(it for it in lines if it.startswith("Caused by: "))]
    if isinstance(error, Py4JError) and (java := _OF_JAVA.search(text)):
        return str(java[1]), cause
    first = [it for it in lines if not it.lstrip().startswith(("at ", "Caused by:"))]
    return "\n".join(first[:_MOST_LINES]), cause

"""What Spark, Java and executors say, told in a line."""

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PythonException, StreamingQueryException

from jobs.failures import remedy, told

_WORKER = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "/x/udfs/storage.py", line 85, in check_writable
    raise JobError(
{}
"""
_JAVA = """An error occurred while calling o1.load.
: {}
\tat org.apache.hadoop.fs.FileSystem.get(FileSystem.java:1)
Caused by: java.io.IOException: more
"""


def test_what_an_executor_of_ours_says_is_complete():
    said = _WORKER.format("chains.errors.JobError: s3a://b: cannot write, ACCESS_DENIED")
    assert told(PythonException(said)) == "s3a://b: cannot write, ACCESS_DENIED"


def test_of_what_an_executor_of_ours_says_no_line_is_lost():
    said = "the server ended; the end of its log x.log:\nusage: serve\n\nserve: no option --fast"
    failed = _WORKER.format(f"chains.errors.ModelLoadError: {said}")
    assert told(PythonException(failed)) == said
    chained = f"{failed}\nDuring handling of the above exception, another exception occurred:\n"
    assert told(Py4JError(_JAVA.format(chained))) == said


def test_a_package_that_an_executor_lacks_is_named_with_what_to_do():
    said = told(PythonException(_WORKER.format("ModuleNotFoundError: No module named 'chains'")))
    assert said.startswith("ModuleNotFoundError: No module named 'chains'; ")
    assert "docs/submitting.md" in said
    assert "\n" not in said


def test_of_what_an_executor_s_python_raises_the_exception_counts_not_its_way_there():
    said = told(PythonException(_WORKER.format("OSError: [Errno 28] No space left on device")))
    assert said == "OSError: [Errno 28] No space left on device"


def test_of_a_java_error_its_first_line_and_the_first_cause_count():
    said = told(Py4JError(_JAVA.format("java.io.IOException: disk")))
    assert said == "java.io.IOException: disk; Caused by: java.io.IOException: more"


def test_what_else_was_said_may_tell_what_to_do():
    said = told(Py4JError(_JAVA.format("java.io.IOException: disk")), "UnknownTopicOrPartition")
    assert said.startswith("java.io.IOException: disk; make the topic")


def test_of_a_stream_that_failed_neither_its_plan_nor_java_s_stack_is_told():
    text = (
        "[STREAM_FAILED] Query terminated: no such topic\n\tat org.apache.X.run(X.scala:1)\n"
        "Caused by: org.Y: outer\nCaused by: org.Z: inner\n"
        "=== Streaming Query ===\nLogicalPlan: Project"
    )
    assert told(StreamingQueryException(text)) == (
        "[STREAM_FAILED] Query terminated: no such topic; Caused by: org.Z: inner"
    )


def test_what_spark_says_is_cut_not_changed():
    lines = [f"line {it}" for it in range(50)]
    assert told(AnalysisException("\n".join(lines))) == "\n".join(lines[:20])


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Class org.apache.hadoop.fs.s3a.S3AFileSystem not found", "spark.storage: s3"),
        ('No FileSystem for scheme "s3"', "s3a://"),
        ('No FileSystem for scheme "gs"', "docs/storage.md"),
        ("UnknownStoreException: NoSuchBucket", "make the bucket"),
        ("AWSBadRequestException: ExpiredToken", "has expired"),
        ("NoAuthWithAWSException: No AWS Credentials", "set AWS_ACCESS_KEY_ID"),
        ("AWS Error ACCESS_DENIED during PutObject", "give it the right"),
        ("AWS Error NETWORK_CONNECTION during PutObject", "AWS_ENDPOINT_URL"),
        ("Cannot find catalog plugin class for catalog 'x'", "spark.sql.catalog"),
        ("org.apache.kafka.common.errors.TimeoutException: listNodes", "source.kafka.options"),
        ("kafka.common.errors.UnknownTopicOrPartitionException: not here", "make the topic"),
        ("Cannot call methods on a stopped SparkContext.", "spark.driver.host"),
        ("Job 2 cancelled because SparkContext was shut down", "spark.driver.host"),
        ("anything else", ""),
    ],
)
def test_what_to_do_depends_on_what_was_said(said, advice):
    assert advice in remedy(said)
    assert bool(remedy(said)) == bool(advice)

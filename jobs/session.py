"""The Spark session of a job: one that runs already, or one on this machine."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession, is_remote

from chains.errors import JobError, SettingsError, UsageError
from jobs import jvm, object_stores
from jobs.failures import told
from jobs.settings import SparkSettings
from jobs.sockets import socket_settings

_FIRST_JOB = "gristmill-first-job"


def open_session(settings: SparkSettings, logs: Path) -> SparkSession:
    """Return the session that runs, as it is, or make one.

    On this machine (`local...`, not started by spark-submit) the session gets the JVM packages and
    the settings of conf/spark; anywhere else only what the user set. What the JVM and the Python
    workers print goes to `spark.log` in the folder `logs`. Raises UsageError under Spark Connect.
    """
    if is_remote():
        raise UsageError(
            "this is Spark Connect (serverless, or shared access mode): a job reads and writes its"
            " tables and journals through the driver's own Spark; run it on a cluster with"
            " dedicated access mode"
        )
    running = _running()
    if running is not None:
        return running
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with jvm.spark_file("log4j2.properties") as log4j, _printing_to(logs / "spark.log") as log:
        conf = settings.conf
        if _is_own(settings):
            conf = _local_conf(settings, log4j, logs.parent)
            object_stores.add_clients(settings.storage, os.environ)
        builder = SparkSession.builder.appName("gristmill")
        if "PYSPARK_GATEWAY_PORT" not in os.environ:
            builder = builder.master(settings.master)
        try:
            with interrupts_held():
                return builder.config(map=conf).getOrCreate()
        except Exception as error:
            where = "" if _submitted() else f"\nits log: {log}"
            raise JobError(f"Spark did not start: {told(error)}{where}") from error


def check_executors(spark: SparkSession, seconds: float) -> None:
    """Run a job of one row where executors are other processes: without one Spark waits for ever.

    Raises JobError where none has come within `seconds`.
    """
    context = spark.sparkContext
    if str(context.master).startswith("local"):
        return
    late, done = threading.Event(), threading.Event()

    def give_up() -> None:
        """Cancel it, and again: on a busy machine it may not be there yet."""
        wait = seconds
        while not done.wait(wait):
            late.set()
            context.cancelJobsWithTag(_FIRST_JOB)
            wait = 1.0

    context.addJobTag(_FIRST_JOB)
    threading.Thread(target=give_up, daemon=True).start()
    try:
        spark.range(1, numPartitions=1).collect()
    except Exception:
        if not late.is_set():
            raise
        host = spark.conf.get("spark.driver.host")
        raise JobError(
            f"no executor came to the driver within {seconds:g} s: the cluster has no room, or its "
            f"executors do not reach the driver at {host}, see their logs; set spark.driver.host "
            "to an address that they reach, or spark.executor_seconds to wait longer"
        ) from None
    finally:
        done.set()
        context.removeJobTag(_FIRST_JOB)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: a JVM whose start is broken off stays behind."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def hold(number: int, _: object) -> None:
        came.append(number)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is hold:  # else it is Spark's own
            signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt


def archive_classes(settings: SparkSettings, logs: Path) -> None:
    """Run a small Delta job once and archive the classes that it loaded; later starts map them."""
    target = jvm.class_archive()
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    options = {"spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={partial}"}
    spark = open_session(settings.model_copy(update={"conf": settings.conf | options}), logs)
    _rehearse(spark, logs)
    gateway: Any = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    if partial.is_file():
        partial.rename(target)


def _rehearse(spark: SparkSession, logs: Path) -> None:
    """Touch what every job touches: write, append, merge, history, join, Arrow."""
    from udfs.commits import Commit
    from udfs.delta import Table

    table = Table(str(logs / "rehearsal"))
    rows = spark.range(100).selectExpr("id", "cast(id as string) as text")
    table.overwrite(rows, Commit("rehearsal", table.version(spark), "rehearsal"))
    table.merge(rows, ["id"], Commit("rehearsal", table.version(spark), "rehearsal"))
    table.read(spark).groupBy("text").count().join(rows, "text").toPandas()


def _running() -> SparkSession | None:
    """Return the session of this thread, or that of the process: a builder would change it."""
    try:
        return SparkSession.active()
    except PySparkException:
        return None


def _is_own(settings: SparkSettings) -> bool:
    return settings.packages and settings.master.startswith("local") and not _submitted()


def _submitted() -> bool:
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _local_conf(settings: SparkSettings, log4j: Path, work: Path) -> dict[str, Any]:
    with jvm.spark_file("local.yml") as path:
        defaults: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    defaults["spark.sql.warehouse.dir"] = str((work / "warehouse").absolute())
    archive = jvm.class_archive()
    options = [f"-Dlog4j2.configurationFile=file:{log4j}"]
    if archive.is_file():
        options += [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:disable"]
    options += jvm.options(str(settings.conf.get("spark.driver.extraJavaOptions", "")))
    own = {
        "spark.driver.extraClassPath": f"{jvm.jars()}/*",
        "spark.driver.extraJavaOptions": " ".join(options),
    }
    stores = object_stores.conf(settings.storage, os.environ)
    return defaults | socket_settings() | stores | settings.conf | own


@contextmanager
def _printing_to(log: Path) -> Iterator[Path]:
    """Let processes started meanwhile print to a file: the JVM, and through it the workers."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise SettingsError(f"work_dir: expected a folder to write logs to: {error}") from None
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield log
    finally:
        for number, fd in zip((1, 2), kept, strict=True):
            os.dup2(fd, number)
            os.close(fd)
        os.close(file)

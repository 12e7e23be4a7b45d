"""One session start and the first Delta write; a process a trial."""

import time
from typing import Any

from bench.serving import Options, Prepare, Work, serve
from contenders.spark import session
from pyspark.sql import SparkSession

from jobs import jvm

EXCLUDED = (
    "org.apache.hadoop:hadoop-client-runtime,org.apache.hadoop:hadoop-client-api,"
    "org.apache.parquet:parquet-hadoop,org.apache.parquet:parquet-column,"
    "org.apache.logging.log4j:log4j-slf4j2-impl,org.apache.logging.log4j:log4j-api,"
    "org.apache.logging.log4j:log4j-core,org.slf4j:slf4j-api"
)
PACKAGES = "io.delta:delta-spark_4.2_2.13:4.4.0,org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"


def make(options: Options) -> Prepare:
    def prepare(task: dict[str, Any]) -> Work:
        def run() -> dict[str, float]:
            begin = time.perf_counter()
            spark = ivy_session(options, task) if task.get("ivy") else session(options)
            opened = time.perf_counter() - begin
            rows = spark.range(100).selectExpr("cast(id as string) as id", "'x' as result")
            rows.write.format("delta").save(task["out"])
            return {"session_seconds": opened}

        return run

    return prepare


def ivy_session(options: Options, task: dict[str, Any]) -> SparkSession:
    """Return a session whose packages Spark resolves itself, from a warm Ivy cache."""
    with jvm.spark_file("local.yml") as path:
        import yaml

        conf = yaml.safe_load(path.read_text("utf-8"))
    with jvm.spark_file("ivysettings.xml") as settings:
        builder = SparkSession.builder.master("local[2]").config(map=conf)
        builder.config("spark.jars.packages", PACKAGES)
        builder.config("spark.jars.excludes", EXCLUDED)
        builder.config("spark.jars.ivySettings", str(settings))
        builder.config("spark.jars.ivy", task["ivy"])
        return builder.getOrCreate()


if __name__ == "__main__":
    serve(make)

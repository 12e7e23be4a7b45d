"""An Airflow DAG: every hour the plan, then the refresh, each through spark-submit.

HOME is a folder on the machine that submits: `dist` as `make dist-env` leaves it, the archive of it
unpacked as `environment`, and the settings. The connection `spark_default` names the master.
"""

from datetime import datetime, timedelta

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG

VERSION = "0.1.0"
HOME = "/opt/gristmill"
SETTINGS = [
    f"--conf={HOME}/refresh.yml",
    "--source.table=main.reports",
    "--target.table=main.refreshed_summaries",
    "--ledger.table=main.ledger",
]


def submitted(name: str, *words: str) -> SparkSubmitOperator:
    """Return the task that runs a command of gristmill."""
    return SparkSubmitOperator(
        task_id=name,
        application=f"{HOME}/dist/submit.py",
        application_args=[name, *SETTINGS, *words],
        archives=f"{HOME}/dist/gristmill-{VERSION}-env.tar.gz#environment",
        env_vars={
            "PYSPARK_DRIVER_PYTHON": f"{HOME}/environment/bin/python",
            "PYSPARK_PYTHON": "./environment/bin/python",
        },
        packages="io.delta:delta-spark_4.2_2.13:4.4.0",
        properties_file=f"{HOME}/dist/spark.conf",
    )


with DAG(
    "gristmill_refresh",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # of two refreshes at once one would fail
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},  # rows left pending go on
):
    submitted("plan", "--json") >> submitted("refresh", "--budget.max_tokens=1000000")

"""The settings of docs/observability.md for Spark itself, in a session of their own."""

import json
import os
import re
import subprocess
import sys

import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from rounds import long

RUN = """
import json, sys, urllib.request
from pathlib import Path
from jobs.batch import run_batch
from jobs.session import open_session
from jobs.settings import load_settings

settings = load_settings(Path("job.yml"))
spark = open_session(settings.spark, settings.work_dir / "logs")
run_batch(spark, settings)
paths = ("/metrics/prometheus/", "/metrics/executors/prometheus/")
pages = [urllib.request.urlopen(spark.sparkContext.uiWebUrl + it).read().decode() for it in paths]
spark.stop()
print(json.dumps(pages))
"""


@long
@pytest.mark.process
def test_spark_shows_its_metrics_and_tells_the_lineage_of_a_batch(tmp_path, pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "observability.md").read_text("utf-8")
    blocks = [yaml.safe_load(it) for it in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    conf = {}
    for block in blocks:
        conf |= block.get("spark", {}).get("conf", {})
    conf |= {"spark.ui.port": 0, "spark.openlineage.transport.location": f"{tmp_path}/lineage"}
    settings = {
        "source": {"table": "./source", "key": "id", "columns": {"document": "body"}},
        "target": {"table": "./target"},
        "chain": {"name": "summarize"},
        "ledger": {"table": "./ledger"},
        "spark": {"conf": conf},
    }
    (tmp_path / "job.yml").write_text(yaml.safe_dump(settings))
    rows = pa.table({"id": ["a", "b"], "body": ["Sales rose. It rained.", "Costs fell."]})
    write_deltalake(f"{tmp_path}/source", rows)
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(pytestconfig.rootpath)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    driver, executors = json.loads(done.stdout.splitlines()[-1])
    assert "metrics_gristmill_driver_BlockManager_memory_maxMem_MB_Value" in driver
    assert "metrics_executor_completedTasks_total" in executors
    events = [json.loads(it) for it in (tmp_path / "lineage").read_text().splitlines()]
    edges = {
        (read["name"].split("/")[-1], written["name"].split("/")[-1])
        for event in events
        if event["eventType"] == "COMPLETE"
        for read in event["inputs"]
        for written in event["outputs"]
    }
    assert ("source", "target") in edges

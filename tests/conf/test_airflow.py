"""The DAG for Airflow."""

import json
import os
import re
import subprocess
import sys

import pytest
from rounds import long
from submitted import PROJECT, ROOT, settings_of

DAG = ROOT / "conf/airflow/gristmill.py"
READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
fields = ("application", "application_args", "env_vars", "downstream_task_ids")
print(json.dumps([{it: getattr(task, it) for it in fields} for task in dag.tasks], default=list))
"""


def test_the_dag_names_the_versions_of_the_project():
    text = DAG.read_text("utf-8")
    compile(text, DAG, "exec")
    assert f'VERSION = "{PROJECT["version"]}"' in text
    ivy = (ROOT / "conf/spark/ivy.xml").read_text("utf-8")
    (package, version) = re.search(r'name="(delta-spark\w*.*?)" rev="(.*?)"', ivy).groups()
    assert f'packages="io.delta:{package}:{version}"' in text


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Return the Python of an environment with Airflow in it and nothing of this project."""
    folder = tmp_path_factory.mktemp("airflow")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    packages = ["apache-airflow", "apache-airflow-providers-apache-spark"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


@long
def test_airflow_imports_the_dag_and_the_jobs_accept_its_words(airflow, tmp_path):
    done = subprocess.run(
        [airflow, "-c", READ, DAG.parent],
        cwd=tmp_path,
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    plan, refresh = json.loads(done.stdout.splitlines()[-1])
    assert plan["downstream_task_ids"] == ["refresh"]
    for task in (plan, refresh):
        assert task["application"].endswith("/dist/submit.py")
        name, *words = task["application_args"]
        settings_of(name, [it.replace("/opt/gristmill", str(ROOT / "conf")) for it in words])

"""The built wheel: what is in it, and that it works as a zip away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"chains", "jobs", "prompt_templates", "udfs"}

IMPORT_ALL = """
import importlib, sys, zipfile
wheel, root = sys.argv[1:]
sys.path[:] = [wheel] + [it for it in sys.path if it not in ("", root)]
sys.meta_path[:] = [it for it in sys.meta_path if "editable" not in repr(it)]
files = [it for it in zipfile.ZipFile(wheel).namelist() if it.endswith(".py")]
names = [it[:-3].replace("/", ".") for it in files]
for name in names:
    module = importlib.import_module(name.removesuffix(".__init__"))
    assert module.__file__.startswith(wheel), module.__file__
from chains import load_chain, load_template
from jobs.jvm import conf_file, spark_file
assert load_chain("summarize").template.ref == "summarize@1"
assert load_template("summarize_few_shot").variables == {"document": "string"}
with spark_file("local.yml") as path:
    assert "DeltaSparkSessionExtension" in path.read_text()
from importlib import resources
assert "<!doctype html>" in resources.files("jobs").joinpath("run_page.html.j2").read_text("utf-8")
from jobs.prices import read_prices
assert "gpt-4o" in read_prices().models
with conf_file("s3/ivy.xml") as path:
    assert "hadoop-aws" in path.read_text()
with conf_file("kafka/server.properties") as path:
    assert "process.roles=broker,controller" in path.read_text()
print(len(names))
"""

OPEN_SESSION = """
import sys
from pathlib import Path
import jobs
from jobs.session import open_session
from jobs.settings import SparkSettings
spark = open_session(SparkSettings(master="local[1]"), Path("logs"))
assert "DeltaSparkSessionExtension" in spark.conf.get("spark.sql.extensions")
ones = spark.sparkContext.parallelize([1], 1)
print(jobs.__file__, *ones.map(lambda _: __import__("udfs").__file__).collect())
spark.stop()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {it for it in tops if not it.endswith(".dist-info")} == PACKAGES


def test_everything_imports_from_the_zip_in_another_folder(wheel):
    command = [sys.executable, "-c", IMPORT_ALL, str(wheel), str(ROOT)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


@pytest.mark.process
def test_a_session_and_its_workers_come_from_the_unpacked_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-P", "-c", OPEN_SESSION],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "site" / package / "__init__.py") for package in ("jobs", "udfs")
    ]

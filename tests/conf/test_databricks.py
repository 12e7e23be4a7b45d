"""The bundle, as far as it can be checked without a workspace."""

import re

import pytest
from bundle import FOLDER, Bundle
from submitted import PROJECT, ROOT, settings_of

SCRIPTS = PROJECT["scripts"]
LOCAL = set(PROJECT["optional-dependencies"]["local"])


@pytest.fixture(params=["dev", "prod"])
def bundle(request):
    return Bundle(request.param)


def tasks(bundle):
    return [(job, task) for job in bundle.jobs().values() for task in job["tasks"]]


def test_every_job_is_what_the_jobs_api_takes(bundle):
    """Its classes drop keys that they do not know, and keep values of the wrong type."""
    from databricks.sdk.service.jobs import JobSettings

    jobs = bundle.jobs()
    assert jobs.keys() == {"batch", "refresh", "stream", "gpu"}
    for job in jobs.values():
        assert JobSettings.from_dict(job).as_dict() == job


def test_every_job_loads_through_the_bundle_classes(bundle):
    """Not among the locked packages: its licence binds it to a Databricks account."""
    jobs = pytest.importorskip("databricks.bundles.jobs")
    for job in bundle.jobs().values():
        assert jobs.Job.from_dict(job).as_dict() == job


def test_every_job_accepts_its_parameters(bundle):
    for job, task in tasks(bundle):
        wheel = task["python_wheel_task"]
        assert wheel["package_name"] == PROJECT["name"]
        assert wheel["entry_point"] in SCRIPTS
        given = wheel["named_parameters"] | {it["name"]: it["default"] for it in job["parameters"]}
        words = [f"--{name}={value}" for name, value in given.items()]
        settings_of(wheel["entry_point"].removeprefix("gristmill-"), words)


def test_every_task_runs_on_a_cluster_of_its_job_with_the_wheel_of_make_dist(bundle):
    for job, task in tasks(bundle):
        assert task["job_cluster_key"] in {it["job_cluster_key"] for it in job["job_clusters"]}
        (wheel,) = [it["whl"] for it in task["libraries"] if "whl" in it]
        assert (FOLDER / "jobs" / wheel).resolve() == ROOT / "dist/*.whl"
        assert {it["pypi"]["package"] for it in task["libraries"] if "pypi" in it} <= LOCAL


def test_a_stream_ends_when_it_has_read_what_is_there(bundle):
    (task,) = bundle.jobs()["stream"]["tasks"]
    assert task["python_wheel_task"]["named_parameters"]["available-now"] == "true"


def test_secrets_come_from_the_scope_under_the_names_that_settings_refer_to(bundle):
    for job, task in tasks(bundle):
        (cluster,) = [it["new_cluster"] for it in job["job_clusters"]]
        variables = cluster.get("spark_env_vars", {})
        assert all(re.fullmatch(r"\{\{secrets/\w+/\w+\}\}", it) for it in variables.values())
        parameters = task["python_wheel_task"]["named_parameters"]
        settings = (ROOT / parameters["conf"]).read_text("utf-8")
        wanted = set() if parameters.get("endpoints") else set(re.findall(r"env:(\w+)", settings))
        assert wanted == variables.keys()

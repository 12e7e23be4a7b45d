"""The manifests and the image, as far as they can be checked without a cluster and Docker."""

import re
import shlex
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from submitted import PROJECT, ROOT, read_yaml, settings_of, spark_conf

FOLDER = ROOT / "conf/kubernetes"
SPARK = next(it for it in PROJECT["optional-dependencies"]["spark"] if it.startswith("pyspark"))
IN_IMAGE = "/opt/gristmill/"


@pytest.fixture
def dockerfile():
    """Return the Dockerfile's instructions."""
    with (FOLDER / "Dockerfile").open("rb") as file:
        return DockerfileParser(fileobj=file).structure


@pytest.fixture(params=["batch", "refresh", "stream"])
def spec(request):
    """Return a manifest's application."""
    spec = read_yaml(FOLDER / f"{request.param}.yml")["spec"]
    return spec.get("template", spec)


def copied(dockerfile):
    """Return the files of the checkout that the image holds, by their path in it."""
    last = max(i for i, it in enumerate(dockerfile) if it["instruction"] == "FROM")
    words = [it["value"].split() for it in dockerfile[last:] if it["instruction"] == "COPY"]
    return {
        target + Path(source).name: ROOT / source
        for *sources, target in words
        for source in sources
        if not sources[0].startswith("--from")
    }


def test_every_application_accepts_its_arguments(spec, dockerfile):
    files = copied(dockerfile)
    name, *words = spec["arguments"]
    conf = next(it for it in words if it.startswith("--conf=")).removeprefix("--conf=")
    settings_of(name, [it.replace(conf, str(files[conf])) for it in words])
    assert spec["mainApplicationFile"].removeprefix("local://") in files


def test_every_application_has_the_session_that_jobs_need(spec):
    assert spark_conf().items() <= spec["sparkConf"].items()
    assert all(isinstance(it, str) for it in spec["sparkConf"].values())


def test_image_and_applications_have_the_versions_of_the_project(spec, dockerfile):
    assert f"pyspark=={spec['sparkVersion']}" == SPARK
    assert spec["image"].rpartition(":")[2].removesuffix("-gpu") == PROJECT["version"]
    images = [it["value"] for it in dockerfile if it["instruction"] == "FROM"]
    assert any(it.startswith(f"apache/spark:{spec['sparkVersion']}-") for it in images)


def test_secrets_come_into_the_environment_of_driver_and_executors(spec):
    wanted = set(re.findall(r"env:(\w+)", " ".join(spec["arguments"])))
    for pod in (spec["driver"], spec["executor"]):
        variables = {it["name"]: it["valueFrom"] for it in pod.get("env", [])}
        assert variables.keys() == wanted
        assert all("secretKeyRef" in it for it in variables.values())


def test_gpu_executors_run_one_task_for_each_gpu():
    spec = read_yaml(FOLDER / "batch.yml")["spec"]
    conf = spec["sparkConf"]
    assert conf["spark.executor.resource.gpu.vendor"] == "nvidia.com"
    assert "spark.executor.resource.gpu.discoveryScript" in conf
    assert (
        conf["spark.executor.resource.gpu.amount"]
        == conf["spark.task.resource.gpu.amount"]
        == str(spec["executor"]["cores"])
    )


def test_stages_build_on_one_another_and_copy_what_is_there(dockerfile):
    stages = set()
    for it in dockerfile:
        words = it["value"].split()
        if it["instruction"] == "FROM":
            stages.update(words[2:3] if words[1:2] == ["AS"] else words[3:])
        elif it["instruction"] == "COPY" and words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
        elif it["instruction"] == "COPY":
            assert all((ROOT / source).exists() for source in words[:-1])


def test_the_image_is_built_by_targets_of_the_makefile(dockerfile):
    runs = [shlex.split(it["value"]) for it in dockerfile if it["instruction"] == "RUN"]
    made = [words[1] for words in runs if words[0] == "make"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert made
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in made)

"""The jobs as functions, called as a cluster calls them: in the process that has the session."""

import sys
from importlib import import_module
from threading import Thread

import pytest
from deltalake import DeltaTable
from submitted import PROJECT

from chains.errors import UsageError
from jobs import entry_points
from jobs.cli import commands
from jobs.entry_points import command_line
from jobs.session import open_session
from jobs.settings import SparkSettings


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("batch", ["job.yml"], ["job.yml"]),
        ("batch", ["--conf", "job.yml", "--json"], ["job.yml", "--json"]),
        ("batch", ["--conf=job.yml", "--json=true"], ["job.yml", "--json"]),
        ("batch", ["job.yml", "--json=False"], ["job.yml"]),
        (
            "batch",
            ["--source.table", "a.b", "--target.keep=[x, y]", "job.yml"],
            ["--set", "source.table=a.b", "--set", "target.keep=[x, y]", "job.yml"],
        ),
        ("batch", ["--set=a=b", "--set", "c=d=e"], ["--set", "a=b", "--set", "c=d=e"]),
        ("batch", ["--chain.model=endpoint:a/m=x"], ["--set", "chain.model=endpoint:a/m=x"]),
        ("batch", ["--source.version", "-1"], ["--set", "source.version=-1"]),
        ("batch", ["--source.table", "--json"], ["--set", "source.table", "--json"]),
        ("batch", ["--help"], ["--help"]),
        ("batch", ["--trigger=5 seconds"], ["--set", "trigger=5 seconds"]),
        ("stream", ["--trigger=5 seconds"], ["--trigger", "5 seconds"]),
        ("stream", ["--available-now=true"], ["--available-now"]),
        ("stream", ["--available-now", "--conf=a.yml"], ["--available-now", "a.yml"]),
    ],
)
def test_words_of_a_job_are_those_of_its_command(name, words, expected):
    assert command_line(commands.commands[name], words) == expected


def test_every_job_is_a_script_of_the_wheel():
    scripts = PROJECT["scripts"]
    for name in ("batch", "refresh", "stream", "plan"):
        module, _, function = scripts[f"gristmill-{name}"].partition(":")
        assert getattr(import_module(module), function) is getattr(entry_points, name)


@pytest.fixture
def conf(job, tmp_path, endpoint):
    """Return the file of a job that asks the fake endpoint."""
    job()
    path = tmp_path / "job.yml"
    path.write_text(
        path.read_text() + f"\n        endpoints: {{fake: {{base_url: '{endpoint.base_url}'}}}}"
    )
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--conf", "{conf}", "--sorce.table=x"], "sorce: unknown key"),
        (["--conf", "{conf}", "--source.table"], "expected KEY=VALUE"),
        (["--conf={tmp}/typo.yml"], "typo.yml: cannot be read"),
        ([], "Missing argument"),
    ],
)
def test_wrong_words_end_with_code_2_and_say_why(conf, tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as raised:
        entry_points.batch([it.format(conf=conf, tmp=tmp_path) for it in words])
    assert raised.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_group_of_commands_takes_its_words_as_they_are(capsys):
    entry_points.run("kafka", ["start", "--port", "1", "--help"])
    assert "Start the broker" in capsys.readouterr().out


def test_spark_connect_is_refused_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    with pytest.raises(UsageError, match="dedicated access mode"):
        open_session(SparkSettings(), tmp_path)


def conf_of(spark):
    """Return a session's settings, less the one in which Delta counts."""
    counted = "spark.databricks.delta.lastCommitVersionInSession"
    return {key: value for key, value in spark.conf.getAll.items() if key != counted}


@pytest.mark.spark
def test_a_job_returns_and_leaves_the_session_that_it_found(
    spark, conf, endpoint, tmp_path, monkeypatch
):
    rows = [("a", "key=a"), ("b", "key=b")]
    frame = spark.createDataFrame(rows, "id string, body string")
    frame.write.format("delta").save(f"{tmp_path}/documents")
    before = conf_of(spark)
    words = f"--conf {conf} --source.table={tmp_path}/documents --chain.model endpoint:fake/m"
    monkeypatch.setattr(sys, "argv", ["batch", *words.split(), "--spark.master=local[7]"])
    assert entry_points.batch() is None
    assert len(endpoint.calls()) == 2
    assert DeltaTable(f"{tmp_path}/target").to_pyarrow_table().num_rows == 2
    assert conf_of(spark) == before
    assert spark.range(3).count() == 3


@pytest.mark.spark
def test_a_session_is_found_from_another_thread_and_its_settings_stay(spark, tmp_path):
    found = []
    settings = SparkSettings(conf={"spark.sql.shuffle.partitions": 99})
    thread = Thread(target=lambda: found.append(open_session(settings, tmp_path)))
    thread.start()
    thread.join()
    assert found[0].sparkContext is spark.sparkContext
    assert spark.conf.get("spark.sql.shuffle.partitions") == "2"
    assert not list(tmp_path.iterdir())

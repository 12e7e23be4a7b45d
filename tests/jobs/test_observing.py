"""What is known of runs afterwards: an MLflow store, the commands that read it, one page."""

import json
import logging
import shutil

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import write_deltalake

from chains.errors import StoreError, TableError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from chains.templates import load_template
from chains.tracking import connect
from jobs.batch import run_batch
from jobs.cli import commands
from jobs.log_chain import run_log_chain
from jobs.mlflow_run import MlflowRun
from jobs.runs import Runs, RunsConf
from jobs.settings import load_settings_of
from jobs.stream import Stream, Trigger
from jobs.stream_settings import StreamSettings
from udfs.passes import unwatched

# SQLAlchemy, about MLflow's tables.
pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]

EXPERIMENT = "mlflow.experiment=summaries"
PRICE = "chain.price={input: 1.0, output: 2.0, currency: EUR}"
TEXT, KEY = "the merger of Alder and Birch", "sk-canary-7d10"


@pytest.fixture(autouse=True)
def source(tmp_path, empty_store):
    """Have a source of six rows, one of them empty, and an MLflow store without a run."""
    body = [*(f"key=r{i} {TEXT} {i}" for i in range(5)), None]
    rows = pa.table({"id": [f"r{i}" for i in range(6)], "body": body})
    write_deltalake(f"{tmp_path}/source", rows)
    shutil.copy(empty_store, tmp_path / "mlflow.db")


@pytest.fixture
def kept(tmp_path):
    """Return the runs of the experiment."""
    conf = {"mlflow": {"experiment": "summaries"}, "work_dir": tmp_path}
    return Runs(RunsConf.model_validate(conf))


def at(endpoint, *more):
    return (
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.attempts=1",
        *more,
    )


def command(*words):
    """Run a command that needs no Spark; return what it prints."""
    done = CliRunner(catch_exceptions=False).invoke(commands, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_runs_are_logged_linked_listed_compared_and_shown(spark, job, registry, kept, tmp_path):
    """Of a logged chain with a registered prompt; no secret and no text of a row is kept."""
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    registry.add(load_template("summarize@1"))
    hidden = f"spark.conf={{spark.hadoop.fs.s3a.secret.key: {KEY}}}"
    given = (EXPERIMENT, PRICE, hidden, "chain.model=models:/writer@live")
    with FakeEndpoint(FakeSettings(api_key=KEY, faults={"r3": {"status": 400}})) as endpoint:
        logged = run_log_chain(
            job(*at(endpoint, f"endpoints.fake.api_key=file:{secret}")), "writer", "live"
        )
        paid = run_batch(spark, job(*given))
    with pytest.raises(TableError):
        run_batch(spark, job(*given, f"source.table={tmp_path}/nowhere"), job="retry")

    failed, first = kept.newest(10)
    assert (first.run_id, first.job, first.state) == (paid.run_id, "batch", "FINISHED")
    assert (failed.job, failed.state, failed.about["error"]) == ("retry", "FAILED", "TableError")
    assert failed.about["exit_code"] == "2"
    _check_numbers(first, paid)
    _check_links(kept, first, logged, tmp_path)
    _check_commands(given, failed, first, tmp_path)
    written = [it for it in tmp_path.rglob("*") if it.is_file() and it != secret]
    of_runs = [it for it in written if "mlartifacts" in it.parts or it.suffix in (".db", ".html")]
    assert {it.name for it in of_runs} > {"run.json", "settings.json", "mlflow.db", "run.html"}
    assert [it for it in of_runs if TEXT.encode() in it.read_bytes()] == []
    assert [it for it in written if KEY.encode() in it.read_bytes()] == []


def test_a_run_that_ctrl_c_stopped_says_so(job, kept):
    MlflowRun(job(EXPERIMENT), "batch", "f" * 32).end(None, KeyboardInterrupt())
    (run,) = kept.newest(1)
    assert (run.state, run.about["exit_code"]) == ("KILLED", "130")


def _check_numbers(run, report):
    expected = {"rows": 6, "answered": 4, "skipped": 1, "errors": 1, "errors.invalid_request": 1}
    expected |= {"distinct": 5, "completed": 4, "hits": 0, "written": 5}
    assert {name: run.numbers[name] for name in expected} == expected
    tokens = report.tokens
    assert run.numbers["cost"] == pytest.approx((tokens["input"] + 2 * tokens["output"]) / 1e6)
    assert run.numbers["latency_ms.p50"] > 0


def _check_links(kept, first, logged, tmp_path):
    store = connect(kept.store)
    run = store.get_run(first.mlflow_id)
    tables = {it.tags[0].value: it.dataset for it in run.inputs.dataset_inputs}
    assert {role: (it.name, it.digest) for role, it in tables.items()} == {
        role: (f"{tmp_path}/{role}", "0") for role in ("source", "target")
    }
    version = store.get_model_version(logged.name, logged.version)
    assert [f"models:/{it.model_id}" for it in run.inputs.model_inputs] == [version.source]
    prompts = json.loads(run.data.tags["mlflow.linkedPrompts"])
    assert [(it["name"], it["version"]) for it in prompts] == [("summarize", "1")]
    assert first.about["template"] == "summarize@1"
    assert first.settings["spark.conf.spark.hadoop.fs.s3a.secret.key"] == "***"


def _check_commands(given, failed, first, tmp_path):
    conf, options = tmp_path / "job.yml", [f"--set={it}" for it in given]
    listed = json.loads(command("runs", conf, *options, "--json"))
    assert [it["run_id"] for it in listed] == [failed.run_id, first.run_id]
    assert "failed: TableError" in command("runs", conf, *options)
    pair = [first.run_id[:12], "last"]
    found = json.loads(command("runs", conf, *options, *pair, "--json"))
    assert found["settings"] == {"source.table": [f"{tmp_path}/source", f"{tmp_path}/nowhere"]}
    assert found["numbers"]["rows"] == {"first": 6, "second": None, "ratio": None}
    assert "seconds.complete" in command("runs", conf, *options, *pair)
    file = tmp_path / "run.html"
    assert command("report", conf, first.run_id[:12], *options, f"--output={file}") == f"{file}\n"
    page = file.read_text("utf-8")
    assert all(it in page for it in ("Rows by outcome", "invalid_request", "Cost, EUR"))


def test_a_store_that_cannot_be_had_stops_the_run_before_it_pays(spark, job, endpoint):
    away = "mlflow.tracking_uri=sqlite:////dev/null/mlflow.db"
    with pytest.raises(StoreError, match=r"mlflow.experiment: .* nothing was asked"):
        run_batch(spark, job(EXPERIMENT, away, *at(endpoint)))
    assert endpoint.calls() == []


def test_a_store_and_a_collector_that_go_away_cost_a_warning_each(
    spark, job, endpoint, tmp_path, caplog
):
    def breaking(prompts):
        (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
        return unwatched(prompts)

    caplog.set_level(logging.WARNING, "gristmill")
    collector = "otel.endpoint=http://127.0.0.1:9"
    report = run_batch(spark, job(EXPERIMENT, collector, *at(endpoint)), breaking)
    assert (report.completed, report.written) == (5, 6)
    (numbers,) = (tmp_path / "runs").iterdir()
    assert json.loads(numbers.read_text())["report"]["completed"] == 5
    told = [it.getMessage() for it in caplog.records if it.name == "gristmill"]
    assert sorted(str(numbers) in it for it in told) == [False, True]
    assert sorted("otel.endpoint" in it for it in told) == [False, True]


def test_a_stream_is_one_run_with_numbers_of_each_micro_batch(spark, kept, endpoint, tmp_path):
    conf = tmp_path / "stream.yml"
    conf.write_text(
        f"""
        source: {{table: {tmp_path}/source, key: id, columns: {{document: body}}}}
        target: {{table: {tmp_path}/target, mode: append}}
        chain: {{name: summarize}}
        ledger: {{table: {tmp_path}/ledger}}
        checkpoint: {tmp_path}/checkpoint
        work_dir: {tmp_path}
        """
    )
    settings = load_settings_of(StreamSettings, conf, [EXPERIMENT, PRICE, *at(endpoint)])
    Stream(spark, settings).run(Trigger(available_now=True))
    (run,) = kept.newest(10)
    assert (run.job, run.state) == ("stream", "FINISHED")
    assert {name: run.numbers[name] for name in ("rows", "new", "answered")} == {
        "rows": 6,
        "new": 5,
        "answered": 5,
    }
    assert run.numbers["cost"] > 0
    series = kept.series_of(run)
    assert (series["rows"], series["new"]) == ([(0, 6)], [(0, 5)])
    assert "batch.rows" not in run.numbers
    record = kept.record(run)
    assert record.versions["source"] == f"{tmp_path}/source"
    assert record.versions["target"] == f"{tmp_path}/target@0"

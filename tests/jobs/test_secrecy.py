"""No secret and no prompt text where they do not belong."""

import json
import logging

import pytest
from rounds import long

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch
from jobs.producer import produce
from jobs.stream import Stream, Trigger

pytestmark = pytest.mark.spark

KEY = "sk-canary-5f2a"
TEXT = "the merger of Alder and Birch"


def test_no_secret_and_no_prompt_leaves_the_tables(spark, job, tmp_path, monkeypatch, caplog):
    """The key is on no disk at all; the text of a document only in the source itself."""
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    rows = [(f"r{i}", f"key=r{i} {TEXT} {i}") for i in range(4)]
    spark.createDataFrame(rows, "id string, body string").write.format("delta").save(
        f"{tmp_path}/source"
    )
    faults = {"r1": {"status": 400}, "r2": {"status": 500}}
    caplog.set_level(logging.DEBUG, "gristmill")
    with FakeEndpoint(FakeSettings(api_key=KEY, faults=faults)) as endpoint:
        report = run_batch(
            spark,
            job(
                "chain.model=endpoint:fake/m",
                f"endpoints.fake.base_url={endpoint.base_url}",
                f"endpoints.fake.api_key=file:{secret}",
                "endpoints.fake.attempts=1",
            ),
        )
    assert report.completed == 2
    plan = spark.read.format("delta").load(f"{tmp_path}/target")._jdf.queryExecution().toString()
    told = [report.json(), caplog.text, plan, str(spark.sparkContext.getConf().getAll())]
    assert not [it for it in told if KEY in it or TEXT in it]
    written = [it for it in tmp_path.rglob("*") if it.is_file() and it != secret]
    assert [it for it in written if KEY.encode() in it.read_bytes()] == []
    logs = [it for it in written if "_delta_log" in it.parts and "source" not in it.parts]
    assert logs
    assert [it for it in logs if TEXT.encode() in it.read_bytes()] == []


@long
@pytest.mark.process
def test_no_password_of_a_kafka_client_is_told_anywhere(
    spark, settings, send, broker, topic, tmp_path, tmp_path_factory, caplog
):
    """Given as references, to the source and to the output; the plans are those of Spark's UI."""
    secret = tmp_path / "secret"
    secret.write_text(f'some.LoginModule required password="{KEY}";')
    names = ("kafka.ssl.key.password", "kafka.sasl.jaas.config")
    options = dict.fromkeys(names, f"file:{secret}")
    output = {"bootstrap": broker.bootstrap, "topic": f"{topic}-out", "options": options}
    given = settings(f"source.kafka.options={json.dumps(options)}", f"output={json.dumps(output)}")
    caplog.set_level(logging.DEBUG, "gristmill")
    produce(broker.bootstrap, output["topic"], [])
    send({"id": "a", "body": "key=a"})
    assert Stream(spark, given).run(Trigger(available_now=True)).new == 1
    logs = list(tmp_path_factory.getbasetemp().glob("logs*/spark.log"))
    written = [it for it in tmp_path.rglob("*") if it.is_file() and it != secret]
    assert logs
    assert [it for it in [*logs, *written] if KEY.encode() in it.read_bytes()] == []
    plans = _plans(spark)
    assert any("kafka" in plan for plan in plans)
    assert not [it for it in [*plans, caplog.text] if KEY in it]


def _plans(spark):
    """Return the plans that Spark has told its UI and its event log."""
    told = spark._jsparkSession.sharedState().statusStore().executionsList()
    return [told.apply(i).physicalPlanDescription() for i in range(told.size())]

"""No secret and no prompt text where they do not belong."""

import logging

import pytest

from chains.models.fake_endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch

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

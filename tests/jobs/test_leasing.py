"""One quota for a cluster: executors in JVMs of their own, and an endpoint that counts."""

import os
import subprocess
import sys
from bisect import bisect_left
from pathlib import Path

import pyarrow as pa
import pyspark
import pytest
from deltalake import DeltaTable, write_deltalake
from messages import answers, document
from rounds import long

from chains.errors import SettingsError, StoppedAtCap
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs import jvm
from jobs.pinning import pin_stream
from jobs.settings import load_settings_of
from jobs.stream_settings import StreamSettings

COMMAND = str(Path(sys.executable).parent / "gristmill")
ROWS, A_MINUTE = 40, 24


@long
@pytest.mark.process
def test_four_tasks_on_two_executors_stay_at_the_requests_a_minute(tmp_path):
    keys = [f"r{i:02d}" for i in range(ROWS)]
    texts = [f"key={key} text" for key in keys]
    write_deltalake(f"{tmp_path}/source", pa.table({"id": keys, "body": texts}))
    conf = tmp_path / "job.yml"
    with FakeEndpoint(FakeSettings(faults={5: {"status": 429, "retry_after": "3"}})) as endpoint:
        conf.write_text(
            f"""
            source: {{table: ./source, key: id, columns: {{document: body}}}}
            target: {{table: ./target}}
            chain: {{name: summarize, model: endpoint:fake/m}}
            endpoints:
              fake:
                base_url: {endpoint.base_url}
                quota: {{requests_per_minute: {A_MINUTE}}}
            ledger: {{table: ./ledger}}
            spark:
              master: local-cluster[2,2,1024]
              conf:
                spark.executor.extraClassPath: {jvm.jars()}/*
                spark.executorEnv.PYTHONPATH: "{os.environ.get("PYTHONPATH", "")}"
            """
        )
        run = subprocess.run(
            [COMMAND, "batch", str(conf)],
            cwd=tmp_path,
            env=os.environ | {"SPARK_HOME": str(Path(pyspark.__file__).parent)},
            capture_output=True,
            text=True,
        )
        calls = sorted(call.received for call in endpoint.calls())
        refused = endpoint.calls()[4]
    assert run.returncode == 0, run.stderr
    assert DeltaTable(f"{tmp_path}/target").to_pyarrow_table().num_rows == ROWS
    assert len(calls) == ROWS + 1
    minutes = [bisect_left(calls, since + 60) - i for i, since in enumerate(calls)]
    assert max(minutes) == A_MINUTE
    held_back = [it for it in calls if refused.received + 0.5 < it < refused.received + 3]
    assert held_back == []


@long
@pytest.mark.spark
def test_a_stream_stops_at_its_budget_and_goes_on_there(stream, send, endpoint, read):
    send(*(document(i) for i in range(12)))
    most = "chain.parameters.max_output_tokens=20"
    with pytest.raises(StoppedAtCap, match=r"a cap left .* of 12 prompts unasked") as told:
        stream(most, "budget.max_tokens=250", "on_outage=wait")
    assert told.value.exit_code == 3
    first = {call.key for call in endpoint.calls()}
    assert 0 < len(first) < 12
    assert read("target") == []
    stream(most)
    assert sorted(call.key for call in endpoint.calls()) == [f"r{i:03d}" for i in range(12)]
    assert answers(read("target")) == {f"r{i:03d}" for i in range(12)}


def test_a_stream_of_a_model_without_an_endpoint_refuses_a_budget(tmp_path):
    conf = tmp_path / "stream.yml"
    conf.write_text(
        """
        source: {table: ./source, key: id, columns: {document: body}}
        target: {table: ./target, mode: append}
        chain: {name: summarize, model: extractive}
        ledger: {table: ./ledger}
        checkpoint: ./checkpoint
        budget: {max_tokens: 5}
        """
    )
    with pytest.raises(SettingsError, match="budget: a stream keeps it only for a model behind an"):
        pin_stream(load_settings_of(StreamSettings, conf))

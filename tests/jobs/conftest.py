"""A stream over a topic of its own, in this process and session."""

import uuid
from pathlib import Path

import pytest
from deltalake import DeltaTable
from messages import record

from jobs.producer import produce
from jobs.settings import load_settings_of
from jobs.stream import Stream, Trigger
from jobs.stream_settings import StreamSettings


@pytest.fixture
def topic(broker):
    name = f"stream-{uuid.uuid4().hex[:8]}"
    produce(broker.bootstrap, name, [], partitions=2)
    return name


@pytest.fixture
def send(broker, topic):
    """Return a function that sends values to the topic, in order."""

    def send(*values):
        produce(broker.bootstrap, topic, [record(it) for it in values])

    return send


@pytest.fixture
def settings(broker, topic, endpoint, tmp_path):
    """Return a function from assignments to the settings of a stream in this folder."""
    conf = tmp_path / "stream.yml"
    conf.write_text(
        f"""
        source:
          kafka:
            bootstrap: {broker.bootstrap}
            topic: {topic}
            schema: id string, body string, pages int
          columns: {{document: body}}
        target: {{table: {tmp_path}/target, mode: append}}
        chain: {{name: summarize, model: endpoint:fake/m}}
        endpoints: {{fake: {{base_url: "{endpoint.base_url}", attempts: 1}}}}
        ledger: {{table: {tmp_path}/ledger}}
        checkpoint: {tmp_path}/checkpoint
        work_dir: {tmp_path}
        """
    )
    return lambda *assignments: load_settings_of(StreamSettings, conf, assignments)


@pytest.fixture
def stream(spark, settings):
    """Return a function that runs the stream over what the topic has."""
    return lambda *assignments: Stream(spark, settings(*assignments)).run(
        Trigger(available_now=True)
    )


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a table of the stream with a reader that is not Spark."""

    def read(name):
        path = f"{tmp_path}/{name}"
        there = Path(path, "_delta_log").is_dir()
        return DeltaTable(path).to_pyarrow_table().to_pylist() if there else []

    return read

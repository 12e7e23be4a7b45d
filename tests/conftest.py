"""What tests of several packages share."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from random_model import build_tiny

# How long an example takes depends on the machine; CI tries the same examples each time.
settings.register_profile("any_machine", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any_machine")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Return the folder of a random-weight chat model of about 130k parameters."""
    return build_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Return the one Spark session of the test run; its workers find the tests' own models."""
    from jobs.session import open_session
    from jobs.settings import SparkSettings

    models = str(Path(__file__).parent / "support")
    os.environ["PYTHONPATH"] = os.pathsep.join([models, os.environ.get("PYTHONPATH", "")])
    logs = tmp_path_factory.mktemp("logs")
    conf = {
        "spark.sql.shuffle.partitions": 2,
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
    }
    session = open_session(SparkSettings(master="local[2]", conf=conf), logs)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """Return the one Kafka broker of the test run; `broker.bootstrap` is its address."""
    from jobs.broker import Broker

    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Return the database of an MLflow store without anything in it; tests copy it."""
    from chains.tracking import asking_mlflow, connect

    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with asking_mlflow("cannot make a store", uri := f"sqlite:///{database}"):
        connect(uri).search_prompts()
    return database


@pytest.fixture
def registry(empty_store, tmp_path):
    """Return the prompt registry of jobs in this folder, empty."""
    from chains.prompt_registry import PromptRegistry

    copy = shutil.copy(empty_store, tmp_path / "mlflow.db")
    return PromptRegistry(f"sqlite:///{copy}")


@pytest.fixture
def job(tmp_path):
    """Return a function from assignments to the settings of a summarize job in this folder."""
    from jobs.settings import load_settings

    conf = tmp_path / "job.yml"
    conf.write_text(
        f"""
        source: {{table: {tmp_path}/source, key: id, columns: {{document: body}}}}
        target: {{table: {tmp_path}/target}}
        chain: {{name: summarize, model: extractive}}
        ledger: {{table: {tmp_path}/ledger}}
        work_dir: {tmp_path}
        """
    )
    return lambda *assignments: load_settings(conf, assignments)


@pytest.fixture
def endpoint():
    """Return the fake endpoint: it answers with the row's key and counts what is paid."""
    from chains.models.fake.endpoint import FakeEndpoint

    with FakeEndpoint() as fake:
        yield fake

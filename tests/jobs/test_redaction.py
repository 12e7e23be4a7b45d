import json

import pytest

from jobs.redaction import flat, shown
from jobs.settings import load_settings

KEY = "sk-canary-7d10"


@pytest.fixture
def settings(job):
    return job(
        "chain.model=endpoint:a/m",
        "endpoints.a={base_url: 'https://a.example/v1', api_key: 'env:KEY_OF_A'}",
        f"mlflow.tracking_uri=postgresql://me:{KEY}@db.example/mlflow",
        f"spark.conf={{fs.s3a.secret.key: {KEY}, spark.executor.memory: 4g, sas: {KEY}}}",
        f"sidecar.arguments=['--api-key={KEY}', '--port=1']",
        "otel={endpoint: 'https://c.example', headers: {authorization: 'secrets/s/collector'}}",
    )


def test_secrets_are_hidden_and_references_are_shown(settings):
    found = flat(shown(settings))
    assert KEY not in json.dumps(shown(settings))
    assert found["endpoints.a.api_key"] == "env:KEY_OF_A"
    assert found["otel.headers.authorization"] == "secrets/s/collector"
    assert found["mlflow.tracking_uri"] == "postgresql://***@db.example/mlflow"
    assert found["spark.conf.fs.s3a.secret.key"] == "***"
    assert found["spark.conf.spark.executor.memory"] == "4g"
    assert found["sidecar.arguments"] == "['--api-key=***', '--port=1']"


def test_what_no_secret_is_stays_as_it_is(settings):
    found = flat(shown(settings))
    assert found["source.key"] == "['id']"
    assert found["chain.model"] == "['endpoint:a/m']"
    assert "chain.price" not in found


def test_settings_that_come_along_have_nothing_to_hide(pytestconfig):
    plain = shown(load_settings(pytestconfig.rootpath / "conf" / "summarize.yml"))
    assert "***" not in json.dumps(plain)

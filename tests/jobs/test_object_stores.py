"""What a session gets of an object store, and from where."""

import pytest

from chains.errors import SettingsError
from jobs import object_stores

S3A = "spark.hadoop.fs.s3a"
KEYS = {"AWS_ACCESS_KEY_ID": "canary", "AWS_SECRET_ACCESS_KEY": "canary"}


def test_address_and_region_are_those_of_the_environment():
    given = {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_DEFAULT_REGION": "eu-central-1"}
    assert object_stores.conf(["s3"], given) == {
        f"{S3A}.endpoint": "http://minio:9000",
        f"{S3A}.path.style.access": "true",
        f"{S3A}.endpoint.region": "eu-central-1",
    }
    own = {"AWS_ENDPOINT_URL_S3": "http://here", "AWS_REGION": "us-east-1"}
    assert object_stores.conf(["s3"], given | own)[f"{S3A}.endpoint"] == "http://here"
    assert object_stores.conf(["s3"], given | own)[f"{S3A}.endpoint.region"] == "us-east-1"


def test_credentials_are_no_settings_of_spark():
    assert object_stores.conf(["s3"], KEYS) == {}


def test_nothing_is_resolved_or_set_where_no_store_is_asked_for():
    environment = dict(KEYS, AWS_ENDPOINT_URL="http://minio:9000")
    before = dict(environment)
    object_stores.add_clients([], environment)
    assert environment == before
    assert object_stores.conf([], environment) == {}


def test_packages_stand_behind_what_was_there(monkeypatch):
    monkeypatch.setattr(object_stores.jvm, "jars", lambda name: f"/jars/{name}")
    environment = {"SPARK_DIST_CLASSPATH": "/own/*"}
    object_stores.add_clients(["s3"], environment)
    assert environment == {"SPARK_DIST_CLASSPATH": "/own/*:/jars/s3/*"}


def test_an_unknown_store_is_refused(job):
    assert job("spark.storage=s3").spark.storage == ("s3",)
    with pytest.raises(SettingsError, match=r"spark\.storage"):
        job("spark.storage=ftp")

"""How failures of the MLflow store are told."""

import pytest

from chains.errors import StoreError
from chains.tracking import asking_mlflow


def test_of_a_long_failure_both_its_beginning_and_its_reason_are_told():
    said = f"API request to /search failed with HTTPConnectionPool({'x' * 500}): Connection refused"
    with pytest.raises(StoreError) as raised, asking_mlflow("cannot get it", "http://store"):
        raise OSError(said)
    told = str(raised.value)
    assert "OSError raised: API request to /search failed" in told
    assert "Connection refused; see mlflow.tracking_uri" in told
    assert len(told) < len(said)

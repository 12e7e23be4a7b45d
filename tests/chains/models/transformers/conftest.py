"""What tests of transformers models share."""

import pytest

from chains.models.transformers import model, weights


@pytest.fixture(scope="package", autouse=True)
def exact():
    """Load weights as float32 and share prefixes on a GPU too, except where a test is about it.

    In bfloat16 the answers of a random model depend on what else is in the batch: two tokens are
    often as likely as each other, to the last bit.
    """
    before = weights.GPU_PRECISION, model.GPU_SHARES_FROM
    weights.GPU_PRECISION, model.GPU_SHARES_FROM = "float32", 0
    yield
    weights.GPU_PRECISION, model.GPU_SHARES_FROM = before

"""What tests of transformers models share."""

import pytest

from chains.models.transformers import weights


@pytest.fixture(scope="package", autouse=True)
def exact():
    """Load weights as float32 on a GPU too, except where a test is about the GPU.

    In bfloat16 the answers of a random model depend on what else is in the batch: two tokens are
    often as likely as each other, to the last bit.
    """
    before, weights.GPU_PRECISION = weights.GPU_PRECISION, "float32"
    yield
    weights.GPU_PRECISION = before

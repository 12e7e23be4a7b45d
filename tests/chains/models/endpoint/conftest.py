"""What tests of endpoints share: a clock that they move."""

import pytest
from clock import Clock


@pytest.fixture
def clock():
    """Return a clock that stands still until `now` is set."""
    return Clock(now=100.0)

"""What tests of endpoints share: a clock that they move."""

import pytest


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Return a clock that stands still until `now` is set."""
    return Clock()

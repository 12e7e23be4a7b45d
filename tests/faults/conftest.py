"""The endpoint of a job, and the table that `make test-faults` ends with."""

import pytest
from disturbed import PAY_LEDGER
from tally import TALLIES

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings


@pytest.fixture
def endpoint(tmp_path):
    """Return an endpoint whose answers take a while; what it was asked stands in the folder."""
    with FakeEndpoint(FakeSettings(latency=0.05), tmp_path / PAY_LEDGER) as endpoint:
        yield endpoint


def pytest_terminal_summary(terminalreporter):
    if TALLIES.found:
        terminalreporter.section("faults")
        for line in TALLIES.lines():
            terminalreporter.write_line(line)

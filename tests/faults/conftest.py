"""The table that `make test-faults` ends with."""

from tally import TALLIES


def pytest_terminal_summary(terminalreporter):
    if TALLIES.found:
        terminalreporter.section("faults")
        for line in TALLIES.lines():
            terminalreporter.write_line(line)

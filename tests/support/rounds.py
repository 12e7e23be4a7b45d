"""How long tests of faults run: `make test-faults` sets FAULT_ROUNDS, and FAULT_FIRST to go on."""

import os

import pytest

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "0"))
FIRST = int(os.environ.get("FAULT_FIRST", "0"))
long = pytest.mark.skipif(ROUNDS == 0, reason="long: make test-faults sets FAULT_ROUNDS")

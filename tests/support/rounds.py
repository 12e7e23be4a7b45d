"""How long tests of faults run: `make test-faults` sets FAULT_ROUNDS."""

import os

import pytest

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "0"))
long = pytest.mark.skipif(ROUNDS == 0, reason="long: make test-faults sets FAULT_ROUNDS")

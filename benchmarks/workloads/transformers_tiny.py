"""W1b with the tiny model of about 130k parameters."""

from bench.results import Section
from bench.trials import Bench
from random_model import build_tiny

from workloads.generating import race


def run(bench: Bench) -> list[Section]:
    rows = bench.size(2000, 32)
    return [race(bench, "W1b transformers, 130k parameters", build_tiny, rows, 20, 120)]

"""W1b with a random-weight Llama of about 31M parameters."""

from bench.results import Section
from bench.trials import Bench
from random_model import build_llama

from workloads.generating import race


def run(bench: Bench) -> list[Section]:
    return race(
        bench, "W1b transformers, 31M parameters", build_llama, bench.size(240, 16), 20, 120
    )

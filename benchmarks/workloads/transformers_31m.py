"""W1b with random-weight models of about 31M parameters, with answers alike and of their own."""

from bench.results import Section
from bench.trials import Bench
from random_model import build_llama

from workloads.generating import race, race_of_skewed_answers


def run(bench: Bench) -> list[Section]:
    title = "W1b transformers, 31M parameters"
    return [
        race(bench, title, build_llama, bench.size(960, 16), 20, 120),
        race_of_skewed_answers(bench, f"{title}, skewed answers", bench.size(240, 16)),
    ]

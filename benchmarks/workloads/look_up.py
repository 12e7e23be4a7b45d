"""The ledger's look-up: a micro-batch of 100 rows beside ledgers of growing size."""

from bench.results import Section, spread, weather
from bench.trials import Bench, Contender, Trial

from workloads.common import fresh


def run(bench: Bench) -> list[Section]:
    sizes = (1_000, 5_000) if bench.smoke else (10_000, 100_000, 1_000_000, 10_000_000)
    ours = Contender("gristmill", "streams")
    trials: list[Trial] = []
    for size in sizes:
        task = {"part": "look_up", "answers": size, "batches": bench.size(12, 3), "step": str(size)}
        trials += bench.race(
            [ours],
            lambda c, r: [task | {"out": fresh(bench, f"look-up-{size}"), "digest": False}],  # noqa: B023
            warm_up=lambda c, r: None,
            repeats=1,
        )
    told = [
        [
            f"{int(it['step']):,}",
            *(spread([1000 * s for s in it[kind]], 0) for kind in ("new", "known")),
        ]
        for it in trials
        if "error" not in it
    ]
    notes = [
        "Milliseconds of a micro-batch of 100 rows without its target: all of them new, or all of "
        "them in the ledger, whose other answers lie as `gristmill ledger compact` leaves them.",
        weather(trials),
    ]
    columns = ["answers in the ledger", "100 new rows, ms", "100 known rows, ms"]
    return [Section("Ledger look-up", columns, told, [it for it in notes if it], trials)]

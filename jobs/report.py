"""What a run did, as numbers: for people as text, for programs as JSON."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from time import perf_counter

from chains.errors import Pending, error_codes
from jobs.settings import Settings
from jobs.spending import Cost, cost_of
from jobs.targets import Written
from udfs.cascade import Passes
from udfs.delta import Table
from udfs.latencies import Latencies
from udfs.work import Work

_WAITING = set(error_codes(Pending))


class Stopwatch:
    """Seconds of named steps; each is done within what `around` gives for its name."""

    def __init__(
        self, around: Callable[[str], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._around = around

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to the step."""
        begin = perf_counter()
        try:
            with self._around(name):
                yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + perf_counter() - begin, 3)


@dataclass(frozen=True)
class RunReport:
    """The numbers of one run.

    `rows` are source rows; `distinct`, `hits` (of the ledger), `misses` and `completed` are
    prompts; `errors` are rows among the dead letters, by code; `written` are rows committed to the
    target; `tokens` are what this run paid for, as the model said, `cost` their price, where it is
    known; `completed_by` are the prompts that each model completed; `latencies` are calls by bucket
    (udfs/latencies.py).
    """

    run_id: str
    rows: int
    distinct: int
    hits: int
    misses: int
    completed: int
    skipped: int
    errors: Mapping[str, int]
    written: int
    tokens: Mapping[str, int]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    tables: Mapping[str, str] = field(default_factory=dict)
    completed_by: Mapping[str, int] = field(default_factory=dict)
    cost: Cost | None = None
    latencies: Latencies = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        run_id: str,
        settings: Settings,
        answered: Passes,
        written: Written,
        clock: Stopwatch,
    ) -> "RunReport":
        """Gather what the steps of a run said."""
        counts, paid = answered.counts, answered.paid
        return cls(
            run_id=run_id,
            rows=counts.rows,
            distinct=counts.distinct,
            hits=counts.hits,
            misses=counts.misses,
            completed=paid.completed,
            skipped=counts.skipped,
            errors=written.errors,
            written=written.target,
            tokens={"input": paid.input_tokens, "output": paid.output_tokens},
            seconds=clock.seconds,
            versions=versions(answered.work),
            tables=tables(settings),
            completed_by=answered.completed_by,
            cost=cost_of(settings, answered.paid_by_model),
            latencies=paid.latencies,
        )

    @property
    def is_pending(self) -> bool:
        """Whether rows wait for the next run, since this one stopped asking."""
        return waits(self.errors)

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))


def waits(errors: Mapping[str, int]) -> bool:
    """Tell whether rows among the dead letters, by code, were not asked."""
    return not _WAITING.isdisjoint(errors)


def versions(work: Work) -> dict[str, str]:
    """Return what a run is pinned to, name@version each."""
    return {
        "source": work.source,
        "chain": work.chain.ref,
        "template": work.chain.template.ref,
        "model": ", then ".join(it.name for it in work.models),
    }


def tables(settings: Settings) -> dict[str, str]:
    """Return the tables of a run, by what they are to it."""
    target = Table.named(settings.target.table)
    return {
        "source": Table.named(settings.source.table).name,
        "target": target.name,
        "errors": target.beside("_errors").name,
        "ledger": Table.named(settings.ledger.table).name,
    }

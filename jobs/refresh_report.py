"""What a refresh did, as numbers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from jobs.changes import Changes
from jobs.refresh_settings import RefreshSettings
from jobs.refresh_target import Kinds
from jobs.report import Stopwatch, tables, versions, waits
from jobs.spending import Cost
from udfs.cascade import Passes
from udfs.latencies import Latencies
from udfs.passes import Counts
from udfs.work import Work

_NOTHING = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, None, None)


@dataclass(frozen=True)
class RefreshReport:
    """The numbers of one refresh; those of prompts and tokens as in RunReport.

    `how` is `all`, `feed` or `comparison`, `because` why it is a comparison. `rows` are those of
    the source, `candidates` (changed, or failed before) of them, `inserted`, `updated` and
    `deleted` (or marked) rows of the target, and `unread`, which were not rendered.
    """

    run_id: str
    how: str
    because: str
    versions: Mapping[str, str]
    tables: Mapping[str, str]
    rows: Mapping[str, int] = field(default_factory=dict)
    distinct: int = 0
    hits: int = 0
    misses: int = 0
    completed: int = 0
    skipped: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    completed_by: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    cost: Cost | None = None
    latencies: Latencies = field(default_factory=dict)

    @classmethod
    def of(
        cls, run_id: str, settings: RefreshSettings, changes: Changes, work: Work
    ) -> "RefreshReport":
        """Say what is known before a model is asked."""
        return cls(run_id, changes.how, changes.because, versions(work), tables(settings))

    def ended(
        self,
        source: int,
        answered: Passes | None,
        kinds: Kinds,
        errors: Mapping[str, int],
        clock: Stopwatch,
        cost: Cost | None = None,
    ) -> "RefreshReport":
        """Add what the run did; `source` is its number of rows."""
        counts = answered.counts if answered else _NOTHING
        unread = source - counts.rows if self.how == "feed" else 0
        return replace(
            self,
            rows={
                "source": source,
                "candidates": counts.rows,
                **asdict(kinds),
                "unread": unread,
            },
            distinct=counts.distinct,
            hits=counts.hits,
            misses=counts.misses,
            completed=answered.paid.completed if answered else 0,
            skipped=counts.skipped,
            errors=errors,
            tokens={
                "input": answered.paid.input_tokens if answered else 0,
                "output": answered.paid.output_tokens if answered else 0,
            },
            completed_by=answered.completed_by if answered else {},
            seconds=clock.seconds,
            cost=cost,
            latencies=answered.paid.latencies if answered else {},
        )

    @property
    def is_pending(self) -> bool:
        """Whether rows wait for the next run, since this one stopped asking."""
        return waits(self.errors)

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

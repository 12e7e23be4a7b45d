"""What fault tests found, a line a fault; `make test-faults` prints it as a table at its end."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder


@dataclass
class Tally:
    """Over all points of one fault: rows lost, doubled and swapped, and what was paid again."""

    fault: str
    points: int = 0
    lost: int = 0
    doubled: int = 0
    swapped: int = 0
    paid_twice: int = 0
    most_repaid: int = 0
    in_flight: int = 0

    def add(self, keys, rows, calls, kills, in_flight):
        """Count a job: the source's keys, the target's rows, and the endpoint's own ledger.

        `kills` says how many calls had come by each point. What was asked before one and again
        later was repaid for it; a call is paid twice where more were than can have been in flight.
        """
        found = Counter(row["id"] for row in rows)
        last = {call.key: number for number, call in enumerate(calls)}
        again = [last[call.key] > number for number, call in enumerate(calls)]
        repaid = [sum(again[begin:end]) for begin, end in pairwise([0, *kills])]
        self.points += len(kills)
        self.lost += sum(key not in found for key in keys)
        self.doubled += sum(count - 1 for count in found.values())
        self.swapped += sum(f"answer to {row['id']}:" not in (row["result"] or "") for row in rows)
        self.paid_twice += sum(max(0, it - in_flight) for it in repaid) + sum(again[kills[-1] :])
        self.most_repaid = max(self.most_repaid, *repaid)
        self.in_flight = in_flight

    @property
    def is_clean(self):
        return not (self.lost or self.doubled or self.swapped or self.paid_twice)

    @property
    def cells(self):
        return [str(getattr(self, name)) for name in COLUMNS]


COLUMNS = tuple(Tally.__dataclass_fields__)


@dataclass
class Tallies:
    """All faults of a test run."""

    found: list[Tally] = field(default_factory=list)

    def of(self, fault):
        self.found.append(Tally(fault))
        return self.found[-1]

    def lines(self):
        """Return the table as Markdown."""
        heads = [name.replace("_", " ") for name in COLUMNS]
        rows = [heads, ["---"] * len(heads), *(it.cells for it in self.found)]
        return [f"| {' | '.join(row)} |" for row in rows]


TALLIES = Tallies()


def rows_of(table):
    """Return a table's rows, read by a reader that is not Spark."""
    rows = QueryBuilder().register("found", DeltaTable(str(table))).execute("SELECT * FROM found")
    return pa.table(rows.read_all()).to_pylist()

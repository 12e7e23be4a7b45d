"""Results: a table a workload, for people; every trial as JSON, for later."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.trials import Contender, Trial, values

HERE = Path(__file__).parents[1]


@dataclass
class Section:
    """One table: columns, rows of text, what to know about them, and the trials behind them."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)


def figure(value: float, digits: int = 2) -> str:
    """Return a number for people."""
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def spread(found: Sequence[float], digits: int = 2) -> str:
    """Return `median (min-max)`."""
    if not found:
        return "-"
    low, high = figure(min(found), digits), figure(max(found), digits)
    return f"{figure(statistics.median(found), digits)} ({low}-{high})"


def cells(trials: Sequence[Trial], contender: str, step: str = "") -> list[str]:
    """Return wall and CPU seconds."""
    return [spread(values(trials, contender, of, step)) for of in ("wall", "cpu")]


def agreement(trials: Sequence[Trial]) -> str:
    """Say whether all outputs of the same table were the same, and whose were not."""
    by: dict[tuple[str, str], set[str]] = {}
    for it in trials:
        if "hash" in it:
            by.setdefault((Path(it["table"]).name, it["hash"]), set()).add(it["contender"])
    if len(by) == len({table for table, _ in by}):
        told = ", ".join(f"{table} {hashed}" for table, hashed in by)
        return f"Outputs of all trials agree: sha256 {told or 'none'}."
    told = "; ".join(f"{table} {h}: {', '.join(sorted(who))}" for (table, h), who in by.items())
    return f"OUTPUTS DIFFER: {told}."


def weather(trials: Sequence[Trial]) -> str:
    """Say how many trials ran although the machine was not quiet."""
    loud = sum(not it["quiet"] for it in trials)
    return f"{loud} of {len(trials)} trials began under CPU pressure above 5." if loud else ""


def settings(contenders: Sequence[Contender]) -> list[str]:
    """Say how each contender was set up."""
    return [f"{it.name}: {it.settings}" for it in contenders if it.settings]


def show(section: Section, console: Console) -> None:
    """Print a section as a table."""
    grid = Table(*section.columns, title=section.title, title_justify="left")
    for row in section.rows:
        grid.add_row(*row)
    console.print(grid)
    for note in section.notes:
        console.print(note, markup=False, highlight=False)


def markdown(head: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """Return all sections for docs/performance.md."""
    lines = [
        f"{head['date'][:10]}, commit {head['commit']}, {', '.join(head['machine'].values())}."
    ]
    lines += [", ".join(f"{name} {version}" for name, version in head["versions"].items()) + "."]
    lines += [f"{head['repeats']} repeats, interleaved; medians (min-max). {head['threads']}", ""]
    for section in sections:
        lines += [f"## {section.title}", "", _row(section.columns)]
        lines += [_row(["---"] * len(section.columns)), *map(_row, section.rows), ""]
        lines += [f"- {note}" for note in section.notes] + [""]
    return "\n".join(lines)


def write(head: Mapping[str, Any], sections: Sequence[Section], folder: Path) -> Path:
    """Write everything as JSON, named by the time in UTC."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.json"
    text = json.dumps({**head, "sections": [asdict(it) for it in sections]}, indent=1)
    path.write_text(text.replace(f"{HERE}/", ""))  # a path of the machine tells nobody anything
    return path


def _row(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"

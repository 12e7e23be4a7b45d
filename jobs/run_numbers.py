"""The numbers of a run as one flat set of names, whatever its job reports."""

from collections.abc import Mapping
from typing import Any

from udfs.latencies import quantile

_PLAIN = ("distinct", "hits", "misses", "completed", "new", "cached", "written", "batches")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Report = Mapping[str, Any]
"""A report of jobs as plain data, also as it comes back from JSON."""


def outcomes(report: Report) -> dict[str, int]:
    """Return source rows by what became of them: `answered`, `skipped`, `unchanged`, error codes.

    Unchanged are those that a refresh had no reason to look at.
    """
    rows, found = report["rows"], {}
    if isinstance(rows, Mapping):
        looked_at = rows.get("candidates", 0)
        found["unchanged"] = max(0, rows["source"] - looked_at)
        rows = looked_at
    errors = report["errors"]
    answered = max(0, rows - report["skipped"] - sum(errors.values()))
    return {"answered": answered, **found, "skipped": report["skipped"], **errors}


def prompts(report: Report) -> dict[str, int]:
    """Return prompts by who answered them: the `ledger`, the `model`, or nobody (`unanswered`)."""
    if "new" in report:
        return {"ledger": report["cached"], "model": report["new"]}
    left = max(0, report["misses"] - report["completed"])
    return {"ledger": report["hits"], "model": report["completed"], "unanswered": left}


def latencies(report: Report) -> dict[int, int]:
    """Return calls by the bucket of their time."""
    return {int(bucket): calls for bucket, calls in report.get("latencies", {}).items()}


def quantiles(report: Report) -> dict[str, float]:
    """Return times of calls in milliseconds that half, 95 % and 99 % did not exceed."""
    timed = latencies(report)
    return {name: quantile(timed, share) for name, share in _QUANTILES.items()} if timed else {}


def numbers(report: Report, seconds: float) -> dict[str, float]:
    """Return the metrics of a run; `seconds` are those of all of it."""
    rows = outcomes(report)
    total = report["rows"]
    cost = report.get("cost")
    return {
        "rows": total["source"] if isinstance(total, Mapping) else total,
        **{name: rows[name] for name in ("answered", "unchanged", "skipped") if name in rows},
        "errors": sum(report["errors"].values()),
        **{f"errors.{code}": count for code, count in report["errors"].items()},
        **{name: report[name] for name in _PLAIN if name in report},
        **{f"{kind}_tokens": count for kind, count in report["tokens"].items()},
        **({} if cost is None else {"cost": cost["amount"]}),
        **{f"latency_ms.{name}": ms for name, ms in quantiles(report).items()},
        "seconds": seconds,
        **{f"seconds.{step}": it for step, it in report["seconds"].items()},
    }

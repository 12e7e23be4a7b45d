"""A contender's side of the wire: one JSON line a trial in, one JSON line out."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from bench.watching import watched

Options = dict[str, Any]
Work = Callable[[], dict[str, Any] | None]
Prepare = Callable[[dict[str, Any]], Work]


def serve(make: Callable[[Options], Prepare]) -> None:
    """Make the contender, say that it is ready, then work off trials until the input ends.

    `make(options)` returns `prepare`, `prepare(task)` returns `work`; only `work()` is timed.
    What other code prints goes to standard error, so that it cannot break a line.
    """
    wire = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    prepare = make(json.loads(sys.argv[1]))
    print(json.dumps({"ready": True}), file=wire)
    for line in sys.stdin:
        print(json.dumps(_trial(prepare, json.loads(line))), file=wire)


def _trial(prepare: Prepare, task: dict[str, Any]) -> dict[str, Any]:
    try:
        work = prepare(task)
        begin = time.perf_counter()
        said = work() or {}
        return {"wall": time.perf_counter() - begin} | said | watched()
    except Exception:
        return {"error": traceback.format_exc()}

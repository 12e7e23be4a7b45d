"""Writing to a Delta table while others do."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from delta.exceptions import DeltaConcurrentModificationException

from chains.errors import JobError
from udfs.delta import Table

_ATTEMPTS = 5
_Written = TypeVar("_Written")


def past_conflicts(table: Table, write: Callable[[], _Written]) -> _Written:
    """Write again after a conflict with OPTIMIZE, MERGE or ALTER; no call is made anew.

    Raises JobError where others do not leave the table alone.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(DeltaConcurrentModificationException):
            return write()
    try:
        return write()
    except DeltaConcurrentModificationException as conflict:
        raise JobError(
            f"table {table.name!r}: others commit to it all the time: {conflict}"
        ) from conflict

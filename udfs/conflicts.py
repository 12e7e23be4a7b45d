"""Writing to a Delta table while others do."""

import logging
from collections.abc import Callable
from typing import TypeVar

from delta.exceptions import (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentWriteException,
    DeltaConcurrentModificationException,
    MetadataChangedException,
    ProtocolChangedException,
)

from chains.errors import JobError
from udfs.delta import Table

LOG = logging.getLogger("gristmill")
_ATTEMPTS = 5
# They have no base in common but PySparkException.
_CONFLICTS = (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentWriteException,
    DeltaConcurrentModificationException,
    MetadataChangedException,
    ProtocolChangedException,
)
_Written = TypeVar("_Written")


def past_conflicts(table: Table, write: Callable[[], _Written]) -> _Written:
    """Write again after a conflict with OPTIMIZE, MERGE or ALTER; no call is made anew.

    Raises JobError where others do not leave the table alone.
    """
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            LOG.info("%s: another commit came between; written again", table.name)
        try:
            return write()
        except _CONFLICTS as conflict:
            failure = conflict
    raise JobError(
        f"table {table.name!r}: others commit to it all the time: {failure}"
    ) from failure

"""Whether the ledger has all of a journal: a mark in its folder says what was taken."""

import hashlib
import json

from udfs.files import Place
from udfs.task_journal import spans

TAKEN = "_taken"


def content_of(journal: Place) -> str:
    """Return what tells the answers of a journal from those it has later.

    Files that are written again as one change nothing of it.
    """
    rows: dict[tuple[int, str], int] = {}
    for span in spans(journal.names()):
        rows[span.task, span.writer] = max(span.last, rows.get((span.task, span.writer), 0))
    return hashlib.sha256(json.dumps(sorted(rows.items())).encode()).hexdigest()


def tell_taken(journal: Place, content: str) -> None:
    """Mark a journal of which the ledger has this content; the mark's age counts from here."""
    (journal / TAKEN).replace(content.encode())


def is_taken(journal: Place) -> bool:
    """Whether there is nothing in a journal that came after it was taken."""
    try:
        return (journal / TAKEN).read().decode() == content_of(journal)
    except FileNotFoundError:
        return False

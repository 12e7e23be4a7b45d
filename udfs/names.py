"""Names of tables: a path, or `catalog.schema.table`, any part of it in backticks."""

import re
from pathlib import Path

from chains.errors import TableError

MOST_PARTS = 3
_PART = re.compile(r"`((?:[^`]|``)+)`|([^`.]+)")
_SCHEME = re.compile("[a-z][a-z0-9+.-]*:/")


def placed(name: str) -> str:
    """Return a table's name; a path without a scheme is taken from this folder.

    Slashes at its end are left out.
    """
    local = "/" in name and not _SCHEME.match(name)
    return str(Path(name).absolute()) if local else name.rstrip("/")


def parts(name: str) -> list[str]:
    """Return the parts of a name, unquoted. Raises TableError where it is none."""
    found, position = [], 0
    while position < len(name):
        part = _PART.match(name, position)
        if part is None or name[part.end() : part.end() + 1] not in ("", "."):
            break
        found.append(part[1].replace("``", "`") if part[1] else part[2])
        position = part.end() + 1
    if position != len(name) + 1 or len(found) > MOST_PARTS:
        raise TableError(
            f"table {name!r}: expected a path, which has a slash, or a name of up to {MOST_PARTS} "
            "parts: catalog.schema.table. A part with a dot or a backtick stands in backticks"
        )
    return found


def column_of(name: str) -> str:
    """Return the column that a column's name begins with, unquoted: of `a.b` and `a`.b it is a."""
    part = _PART.match(name)
    return name if part is None else part[1].replace("``", "`") if part[1] else part[2]


def is_field(name: str) -> bool:
    """Whether a column's name goes on to a field within the column."""
    part = _PART.match(name)
    return part is not None and part.end() < len(name)


def quoted(*parts: str) -> str:
    """Return a name for SQL: its parts in backticks."""
    return ".".join("`" + it.replace("`", "``") + "`" for it in parts)

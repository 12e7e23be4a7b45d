"""Messages of test topics, and the answers to them."""

import json

from jobs.producer import Record


def record(value):
    """Return a record; those of one id go to one partition, so that their order is kept."""
    if isinstance(value, dict):
        return Record(str(value["id"]).encode(), json.dumps(value).encode(), 1_700_000_000_000)
    return Record(b"other", value, 1_700_000_000_000)


def document(number):
    return {"id": f"r{number:03d}", "body": f"key=r{number:03d} says {number}"}


def answers(rows):
    return {row["result"].partition(":")[0].removeprefix("answer to ") for row in rows}

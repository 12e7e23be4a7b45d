import json
from collections import Counter

import pytest

from chains import load_chain
from jobs.sample.events import Event, demo_events


def parsed(record):
    """Return the record's JSON, or None where it holds none."""
    try:
        return json.loads(record.value)
    except (TypeError, ValueError):
        return None


@pytest.fixture(scope="module")
def records():
    return demo_events(50)


@pytest.fixture(scope="module")
def rows(records):
    return [row for row in map(parsed, records) if row]


def test_same_seed_gives_the_same_records(records):
    assert demo_events(50) == records
    assert demo_events(50, seed=8) != records


@pytest.mark.parametrize("n", [10, 11, 50, 200])
@pytest.mark.parametrize("seed", range(5))
def test_as_many_records_as_asked_for_and_the_spoilt_ones_among_them(n, seed):
    records = demo_events(n, seed)
    rows = [row for row in map(parsed, records) if row]
    good = [row for row in rows if isinstance(row["amount"], float)]
    assert len(records) == n
    assert sum(record.value is None for record in records) == 1
    assert len(rows) == n - 2
    assert len(good) == n - 3
    assert len({row["event_id"] for row in good}) == n - 6


def test_fewer_than_ten_are_refused():
    with pytest.raises(ValueError, match="at least 10, found 9"):
        demo_events(9)


def test_an_event_sent_twice_is_the_same_record_later(records):
    times = Counter(records)
    assert sorted(times.values())[-4:] == [1, 2, 2, 2]


def test_an_event_has_the_fields_of_its_class_and_its_own_time(records, rows):
    assert all(set(row) == set(Event.__dataclass_fields__) for row in rows)
    assert all(record.key.startswith(b"customer-") for record in records)
    events = [(Event(**row).record(), record) for record in records if (row := parsed(record))]
    assert all(event.timestamp_ms == record.timestamp_ms for event, record in events)


def test_the_chain_can_ask_about_every_event(rows):
    assert set(load_chain("marketing").template.variables) < set(Event.__dataclass_fields__)
    assert {row["language"] for row in rows} == {"en", "de", "fr", "es"}

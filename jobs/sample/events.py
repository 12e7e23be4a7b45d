"""Invented customer events for the marketing demo, spoilt as those of a real topic are."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from jobs.producer import Record

FIRST = datetime(2025, 3, 3, 8, tzinfo=UTC)
TWICE = 3

OF_GOODS = ("first_purchase", "cart_abandoned", "birthday", "back_in_stock")
OF_SUBSCRIPTIONS = ("first_purchase", "cart_abandoned", "birthday", "renewal_due")

CUSTOMERS = {
    "en": ("Grace Adeyemi", "Owen Hartley", "Priya Nair", "Tom Whitlock", "Isla Brennan"),
    "de": ("Jürgen Weiß", "Anke Vollmer", "Selin Özkan", "Matthias Köhler", "Heike Sönnichsen"),
    "fr": ("Chloé Marchand", "Étienne Garnier", "Inès Benali", "Luc Béranger", "Maëlle Roux"),
    "es": ("Lucía Ibáñez", "Íñigo Salcedo", "Carmen Peñalver", "Raúl Montoya", "Nuria Soler"),
}

PRODUCTS = {
    "espresso machine": (249.0, OF_GOODS),
    "trail running shoes": (119.9, OF_GOODS),
    "wool blanket": (79.5, OF_GOODS),
    "bicycle lock": (64.99, OF_GOODS),
    "reading lamp": (45.0, OF_GOODS),
    "wireless headphones": (189.0, OF_GOODS),
    "cookbook subscription": (12.5, OF_SUBSCRIPTIONS),
    "garden planner, one year": (29.99, OF_SUBSCRIPTIONS),
}


@dataclass(frozen=True)
class Event:
    """What happened to a customer; `amount` is the product's price in euros, `at` a time in UTC."""

    event_id: str
    customer: str
    name: str
    language: str
    event: str
    product: str
    amount: float
    at: str

    def record(self) -> Record:
        """Return the event as JSON under its customer's key, so that their order is kept."""
        value = json.dumps(asdict(self), ensure_ascii=False)
        at = datetime.fromisoformat(self.at)
        return Record(self.customer.encode(), value.encode(), round(at.timestamp() * 1000))


def demo_events(n: int = 50, seed: int = 7) -> list[Record]:
    """Return `n` records in the order in which they are to be sent; each seed has its own.

    n - 6 are distinct events. Besides, 3 of them come again later; one record is a tombstone, one
    no JSON, and in one the amount is no number. Raises ValueError for `n` below 10.
    """
    if n < 10:
        raise ValueError(f"n: expected at least 10, found {n!r}")
    rng = Random(f"events/{seed}")  # noqa: S311  # invents customers, guards nothing
    events = list(_events(rng, n - TWICE))
    records = [event.record() for event in events]
    order = rng.sample(range(len(events)), len(events))
    for i, spoil in zip(order, (_tombstone, _no_json, _misfit), strict=False):
        records[i] = spoil(events[i])
    for i in sorted(order[3 : 3 + TWICE], reverse=True):
        records.insert(rng.randint(i + 1, len(records)), records[i])
    return records


def _tombstone(event: Event) -> Record:
    return replace(event.record(), value=None)


def _no_json(event: Event) -> Record:
    return replace(event.record(), value=f"{event.event_id};{event.event};".encode())


def _misfit(event: Event) -> Record:
    value = json.dumps({**asdict(event), "amount": "on request"}, ensure_ascii=False)
    return replace(event.record(), value=value.encode())


def _events(rng: Random, count: int) -> Iterator[Event]:
    customers = [(name, language) for language, names in CUSTOMERS.items() for name in names]
    at = FIRST
    for i in range(count):
        number = rng.randrange(len(customers))
        name, language = customers[number]
        product = rng.choice(list(PRODUCTS))
        amount, kinds = PRODUCTS[product]
        yield Event(
            event_id=f"event-{i:05d}",
            customer=f"customer-{number:03d}",
            name=name,
            language=language,
            event=rng.choice(kinds),
            product=product,
            amount=amount,
            at=at.isoformat(timespec="seconds"),
        )
        at += timedelta(seconds=rng.randint(5, 900))

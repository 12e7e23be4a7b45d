"""W7: a topic to Delta, beside Spark's plain stream and a pyfunc's."""

import json
import time
from collections.abc import Iterator
from statistics import median as middle
from statistics import quantiles
from threading import Thread

from bench.asking import template_file
from bench.results import Section, figure, spread, weather
from bench.trials import Bench, Contender, Task, Trial

from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.broker import Broker
from jobs.producer import Record, produce
from workloads.common import fresh

PLAIN = Contender("plain stream", "streams", task={"who": "plain"})
OURS = Contender("gristmill", "streams", task={"who": "gristmill"})
PYFUNC = Contender("foreachBatch + mlflow spark_udf", "streams", task={"who": "mlflow"})
BOTH = [PLAIN, OURS]
WORDS = "word " * 20
SECONDS_BEFORE, EVENTS_A_SECOND = 40, 50
ENDPOINT_SECONDS, SLOTS = 0.2, 64
EVENTS = (
    f"{EVENTS_A_SECOND} events a second, those of the first {SECONDS_BEFORE} s do not count; from "
    "an event's time to its commit in the table; a session a trial."
)


def run(bench: Bench) -> list[Section]:
    with Broker(bench.work / "kafka") as broker:
        return [
            _rate(bench, broker),
            _latency(bench, broker),
            _asking(bench, broker),
        ]


def _rate(bench: Bench, broker: Broker) -> Section:
    rows, batches = bench.size(10_000, 200), bench.size(8, 4)
    produce(broker.bootstrap, "rate", _records(rows * batches), partitions=2)
    trials = bench.race(
        BOTH,
        lambda c, r: [_task(bench, broker, "rate", rows)],
        warm_up=lambda c, r: _task(bench, broker, "rate", rows, name="warm") if r == 0 else None,
    )
    plain = middle(_all(trials, PLAIN, "batch_seconds"))
    told = [
        [
            it.name,
            spread(_all(trials, it, "batch_seconds")),
            figure(rows / middle(_all(trials, it, "batch_seconds")), 0),
            figure(plain / middle(_all(trials, it, "batch_seconds"))),
        ]
        for it in BOTH
    ]
    notes = [
        f"{batches} micro-batches of {rows:,} messages of 130 bytes, 2 partitions, all distinct; "
        "Spark's time of whole micro-batches, the first two of a run left out.",
        "plain: Kafka, from_json, Delta. gristmill: the same and prompt, fingerprint, a free "
        "model, journal, ledger.",
        weather(trials),
    ]
    columns = ["stream", "s a micro-batch", "messages/s", "of plain"]
    return Section("Stream, rate", columns, told, [it for it in notes if it], trials)


def _latency(bench: Bench, broker: Broker) -> Section:
    trials = _followed(bench, broker, BOTH, "latency", {})
    told = [[it.name, *_quantiles(trials, it, 99)] for it in BOTH]
    p50 = {row[0]: float(row[1]) for row in told}
    notes = [
        f"p50 of gristmill over the plain stream's: {p50[OURS.name] / p50[PLAIN.name]:.2f}.",
        EVENTS,
        weather(trials),
    ]
    columns = ["stream", "p50 s", "p99 s", "events"]
    return Section("Stream, latency", columns, told, [it for it in notes if it], trials)


def _asking(bench: Bench, broker: Broker) -> Section:
    """W7: the chain asks an endpoint that takes its time."""
    racing = [OURS, PYFUNC]
    with FakeEndpoint(FakeSettings(latency=ENDPOINT_SECONDS)) as fake:
        endpoints = {"fake": {"base_url": fake.base_url, "concurrency": SLOTS}}
        ask = {"spec": "endpoint:fake/m", "endpoints": endpoints, "template": template_file()}
        trials = _followed(bench, broker, racing, "asking", {"ask": ask})
    commit = middle([it for contender in racing for it in _all(trials, contender, "commits")])
    floor = ENDPOINT_SECONDS + commit
    told = []
    for it in racing:
        p50, p95, events = _quantiles(trials, it, 95)
        over = (figure(float(value) / floor) for value in (p50, p95))
        told.append([it.name, p50, p95, *over, events])
    notes = [
        f"The endpoint answers after {ENDPOINT_SECONDS} s, an empty Delta commit takes "
        f"{commit:.2f} s: `over` is latency over their sum.",
        f"Both ask at most {SLOTS} at once in each of 2 workers, with the same client.",
        EVENTS,
        weather(trials),
    ]
    columns = ["stream", "p50 s", "p95 s", "p50 over", "p95 over", "events"]
    return Section("W7 Kafka, endpoint, Delta", columns, told, [it for it in notes if it], trials)


def _followed(
    bench: Bench, broker: Broker, racing: list[Contender], part: str, more: Task
) -> list[Trial]:
    """Let contenders in turn follow a topic of their own while it is written."""
    seconds = bench.size(30, 5)
    trials: list[Trial] = []
    for repeat in range(bench.repeats):
        for contender in racing if repeat % 2 == 0 else reversed(racing):
            topic = f"{part}-{len(trials)}"
            produce(broker.bootstrap, topic, [], partitions=2)
            begin = time.time() + SECONDS_BEFORE
            until = begin + seconds
            sender = Thread(target=_send, args=(broker.bootstrap, topic, until))
            sender.start()
            task = _task(bench, broker, "latency", 10_000, topic=topic) | more
            trials += bench.race(
                [contender],
                lambda c, r: [task | {"since": begin, "until": until + 2}],  # noqa: B023
                warm_up=lambda c, r: None,
                repeats=1,
            )
            sender.join()
    return trials


def _quantiles(trials: list[Trial], contender: Contender, percent: int) -> list[str]:
    """Return the median latency, a percentile, and of how many events."""
    found = _all(trials, contender, "latencies")
    return [
        figure(middle(found)),
        figure(quantiles(found, n=100)[percent - 1]),
        f"{len(found):,}",
    ]


def _task(
    bench: Bench, broker: Broker, part: str, rows: int, topic: str = "rate", name: str = ""
) -> Task:
    return {
        "part": part,
        "bootstrap": broker.bootstrap,
        "topic": topic,
        "rows": rows,
        "out": fresh(bench, name or part),
        "digest": False,
    }


def _records(number: int) -> Iterator[Record]:
    for i in range(number):
        document = {"id": f"r{i}", "document": f"row {i} {WORDS}"}
        yield Record(str(i).encode(), json.dumps(document).encode(), round(time.time() * 1000))


def _send(bootstrap: str, topic: str, until: float) -> None:
    number = round((until - time.time()) * EVENTS_A_SECOND)
    produce(bootstrap, topic, _records(number), per_second=EVENTS_A_SECOND)


def _all(trials: list[Trial], contender: Contender, of: str) -> list[float]:
    mine = [it for it in trials if it["contender"] == contender.name and "error" not in it]
    return [value for it in mine for value in it[of]]

"""W4, W5: an endpoint that takes a fixed number of requests at once, and one whose number moves."""

from math import exp

from bench.results import Section, cells, figure, settings, weather
from bench.trials import Bench, Contender, Task, median

MEDIAN, SIGMA = 0.5, 0.6
FIXED = 64
MOVES = (64, 24, 96)


def contenders() -> list[Contender]:
    clients = [("gristmill", "auto"), *(("gristmill", n) for n in (16, 32, 128)), ("asyncio", 64)]
    return [
        Contender(
            f"{client} {slots}",
            "endpoint_client",
            task={"client": client, "concurrency": slots},
            settings=f"concurrency: {slots}" + (", SDK retries" if client == "asyncio" else ""),
        )
        for client, slots in clients
    ]


def run(bench: Bench) -> list[Section]:
    seconds = bench.size(60, 2)
    phase = seconds / len(MOVES)
    moves = ",".join(f"{i * phase}:{most}" for i, most in enumerate(MOVES))
    fixed = ["--latency", str(MEDIAN), "--retry-after", "", "--max-concurrent", str(FIXED)]
    moving = ["--latency", str(MEDIAN), "--latency-sigma", str(SIGMA), "--retry-after", ""]
    mean = MEDIAN * exp(SIGMA**2 / 2)
    return [
        _section(bench, "W4 endpoint, fixed limit", fixed, seconds, FIXED * seconds / MEDIAN),
        _section(
            bench,
            "W5 endpoint, moving limit",
            [*moving, "--moves", moves],
            seconds,
            sum(MOVES) * phase / mean,
        ),
    ]


def _section(
    bench: Bench, title: str, endpoint: list[str], seconds: float, possible: float
) -> Section:
    racing = contenders()
    rows = int(2 * possible)
    task: Task = {"endpoint": endpoint, "seconds": seconds, "rows": rows, "digest": False}
    trials = bench.race(racing, lambda c, r: [task], warm_up=lambda c, r: None)
    told = [
        [
            it.name,
            *cells(trials, it.name),
            figure(median(trials, it.name, "good")),
            figure(median(trials, it.name, "good") / possible),
            figure(median(trials, it.name, "refused") / max(1.0, median(trials, it.name, "good"))),
        ]
        for it in racing
    ]
    columns = ["client", "wall s", "CPU s", "answers", "of what is possible", "refused per answer"]
    notes = [
        f"{seconds} s each; the endpoint refuses with 429, without a time, what is above its "
        "limit; it counts answers and refusals itself. Possible: limit x time / mean latency.",
        f"Latency: median {MEDIAN} s" + (f", log-normal, sigma {SIGMA}" if SIGMA else ""),
        weather(trials),
        *settings(racing),
    ]
    return Section(title, columns, told, [it for it in notes if it], trials)

"""W4, W5: an endpoint that takes a fixed number of requests at once, and one whose number moves."""

from math import exp
from typing import Any

from bench.results import Section, cells, figure, settings, spread, weather
from bench.trials import Bench, Contender, Task, median, values

MEDIAN, SIGMA = 0.5, 0.6
FIXED = 64
MOVES = (64, 24, 96)
OURS = "gristmill auto"
SDK = "the SDK retries"
LEVEL = "spark.sql.execution.pythonUDF.arrow.concurrency.level"
AUTO = Contender(
    OURS,
    "endpoint_client",
    task={"client": "gristmill", "slots": "auto"},
    settings="concurrency: auto, which is the default",
)
AIMD = Contender(
    "aimd",
    "endpoint_client",
    task={"client": "aimd", "slots": 0},
    settings="asyncio; from 8 slots doubled each round trip up to the first 429, then one more "
    "each round trip; halved by a 429, once a round trip",
)
RAY = Contender(
    "ray data 64",
    "endpoint_ray",
    task={"slots": 32, "batch_size": 64},
    settings=f"map_batches over 2 asyncio actors of 32 slots, batch_size 64; {SDK}",
)
DAFT = Contender(
    "daft 64",
    "endpoint_daft",
    task={"slots": 64},
    settings=f"asynchronous class UDF with a semaphore; {SDK}",
)


def fixed_contenders() -> list[Contender]:
    """Return who asks where the limit is fixed; static clients know it."""
    in_threads = {"conf": {LEVEL: 32}}
    return [
        AUTO,
        Contender(
            f"asyncio {FIXED}",
            "endpoint_client",
            task={"client": "asyncio", "slots": FIXED},
            settings=f"asyncio with a semaphore; {SDK}",
        ),
        AIMD,
        Contender(
            "spark concurrency.level 2x32",
            "endpoint_spark",
            in_threads,
            {"client": "threads", "slots": 32},
            settings=f"scalar Arrow UDF, {LEVEL}: 32, 2 tasks; {SDK}",
        ),
        Contender(
            "spark asyncio 2x32",
            "endpoint_spark",
            in_threads,
            {"client": "asyncio", "slots": 32},
            settings=f"iterator Arrow UDF with an event loop, 2 tasks of 32 slots; {SDK}",
        ),
        RAY,
        DAFT,
    ]


def moving_contenders() -> list[Contender]:
    """Return who asks where the limit moves."""
    static = [
        Contender(
            f"gristmill {slots}",
            "endpoint_client",
            task={"client": "gristmill", "slots": slots},
            settings=f"concurrency: {slots}",
        )
        for slots in (16, 32, 128)
    ]
    return [AUTO, *static, AIMD, RAY, DAFT]


def run(bench: Bench) -> list[Section]:
    seconds = bench.size(60, 3)
    phase = seconds / len(MOVES)
    moves = ",".join(f"{i * phase}:{most}" for i, most in enumerate(MOVES))
    asked = ["--latency", str(MEDIAN), "--retry-after", ""]
    fixed = [*asked, "--max-concurrent", str(FIXED)]
    moving = [*asked, "--latency-sigma", str(SIGMA), "--moves", moves]
    mean = MEDIAN * exp(SIGMA**2 / 2)
    return [
        _section(
            bench,
            ("W4 endpoint, fixed limit", f"at most {FIXED} at once; each answer takes {MEDIAN} s"),
            fixed_contenders(),
            {"endpoint": fixed, "seconds": seconds},
            FIXED * seconds / MEDIAN,
        ),
        _section(
            bench,
            (
                "W5 endpoint, moving limit",
                f"at most {', then '.join(map(str, MOVES))} at once, {phase:.0f} s each; latency "
                f"log-normal, median {MEDIAN} s, sigma {SIGMA}",
            ),
            moving_contenders(),
            {"endpoint": moving, "seconds": seconds},
            sum(MOVES) * phase / mean,
        ),
    ]


def _section(
    bench: Bench,
    told: tuple[str, str],
    racing: list[Contender],
    asked: dict[str, Any],
    possible: float,
) -> Section:
    title, endpoint = told
    seconds = asked["seconds"]
    task: Task = {**asked, "rows": int(2 * possible), "digest": False}

    def warm_up(contender: Contender, repeat: int) -> Task | None:
        """Start workers and what they import, where there are any."""
        cold = repeat == 0 and contender.file != "endpoint_client"
        return task | {"seconds": 1, "rows": 256} if cold else None

    trials = bench.race(racing, lambda c, r: [task], warm_up=warm_up)
    rows = [
        [
            it.name,
            *cells(trials, it.name),
            spread([float(n) for n in values(trials, it.name, "good")], 0),
            figure(median(trials, it.name, "good") / possible),
            figure(median(trials, it.name, "good") / median(trials, OURS, "good")),
            figure(median(trials, it.name, "refused") / max(1.0, median(trials, it.name, "good"))),
        ]
        for it in racing
    ]
    columns = ["client", "wall s", "CPU s", "answers", "of what is possible", f"of {OURS}"]
    columns += ["refused per answer"]
    notes = [
        f"{seconds} s from the first request; {endpoint}. The endpoint refuses with 429, without a "
        "time, what is above its limit; it counts answers and refusals itself. Possible: limit x "
        "time / mean latency.",
        "wall s: until the client has ended, retries that sleep included. CPU s: client and "
        "endpoint.",
        weather(trials),
        *settings(racing),
    ]
    return Section(title, columns, rows, [it for it in notes if it], trials)

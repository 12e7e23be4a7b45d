"""What the journal costs: its part of a batch job's time, and microseconds an answer."""

from bench import tables
from bench.results import Section, agreement, cells, settings, spread, weather
from bench.trials import Bench, Contender, Task, Trial
from bench.watching import DAEMON

from chains.models.fake.endpoint import FakeEndpoint
from workloads.common import clean_out, out_for, warm_table
from workloads.extractive import ASK, MIDDLE_WORDS

WORKERS = 2


def contenders(url: str) -> list[Contender]:
    """Return the models; `url` is an endpoint that answers at once."""

    def at_once(name: str, concurrency: str | int, settings: str) -> Contender:
        endpoint = {"base_url": url, "concurrency": concurrency}
        ask = {"spec": "endpoint:fake/m", "endpoints": {"fake": endpoint}}
        return Contender(name, "gristmill_batch", {"conf": DAEMON}, {"ask": ask}, settings)

    return [
        Contender(
            "extractive",
            "gristmill_batch",
            {"conf": DAEMON},
            {"ask": ASK},
            settings="answers come in groups of documents, each group is a file",
        ),
        at_once(
            "endpoint",
            "auto",
            "it answers at once, concurrency: auto; what has come together is a file",
        ),
        at_once("endpoint, singly", 1, "it answers at once, concurrency: 1; each answer is a file"),
    ]


def run(bench: Bench) -> list[Section]:
    rows = tables.reports(bench.size(2000, 40), MIDDLE_WORDS)
    table = tables.write(bench.work / "journal", rows)
    warm = warm_table(bench, rows)

    def steps(contender: Contender, repeat: int) -> list[Task]:
        return [{"table": table, "out": out_for(bench, contender)}]

    with FakeEndpoint() as endpoint:
        racing = contenders(endpoint.base_url)
        trials = bench.race(racing, steps, warm_up=clean_out(bench, warm), fresh=True)
    told = [_row(trials, it) for it in racing]
    columns = ["model", "wall s", "CPU s", "rows/s", "journal s", "journal CPU s", "of rows/s"]
    columns += ["of CPU", "us/answer", "CPU us/answer", "answers a write"]
    notes = [
        f"gristmill batch over {len(rows):,} documents of the workload extractive, local[2], new "
        "target and ledger. The time is that of TaskJournal's methods in the workers' threads: the "
        "files, and that small ones are written again as one.",
        f"journal s: of the {WORKERS} workers together; they work at the same time, so that of "
        f"rows/s: (journal s / {WORKERS}) / wall s. The journal's way to the ledger is not in it.",
        agreement([it for it in trials if it["contender"] == racing[0].name]),
        weather(trials),
        *settings(racing),
    ]
    return [Section("Journal", columns, told, [it for it in notes if it], trials)]


def _row(trials: list[Trial], contender: Contender) -> list[str]:
    mine = [it for it in trials if it["contender"] == contender.name and "journal" in it]
    took = [it["journal"] for it in mine]
    shares = [100 * it["journal"]["wall"] / WORKERS / it["wall"] for it in mine]
    of_cpu = [100 * it["journal"]["cpu"] / it["cpu"] for it in mine]
    return [
        contender.name,
        *cells(trials, contender.name),
        spread([it["journal"]["answers"] / it["wall"] for it in mine], 1),
        spread([it["wall"] for it in took], 3),
        spread([it["cpu"] for it in took], 3),
        spread(shares) + " %",
        spread(of_cpu) + " %",
        *(spread([1e6 * it[of] / it["answers"] for it in took], 0) for of in ("wall", "cpu")),
        spread([it["answers"] / it["writes"] for it in took], 1),
    ]

"""Session start to the first Delta write: without and with the class archive, and through Ivy."""

from bench.results import Section, spread, weather
from bench.trials import Bench, Contender, Task, values

from jobs import jvm
from workloads.common import fresh

REPEATS = 3


def run(bench: Bench) -> list[Section]:
    bare = bench.work / "cache-without-classes"
    bare.mkdir()
    (bare / "jars").symlink_to(jvm.jars().parent)
    ivy = str(bench.work / "ivy")
    racing = [
        Contender("class archive", "session_start"),
        Contender("no class archive", "session_start", environment={"GRISTMILL_CACHE": str(bare)}),
        Contender("spark.jars.packages", "session_start", task={"ivy": ivy}),
    ]

    def steps(contender: Contender, repeat: int) -> list[Task]:
        return [{"out": fresh(bench, "session"), "digest": False}]

    warm = racing[-1:]  # fills the Ivy cache
    bench.race(warm, steps, warm_up=lambda *_: None, repeats=1, fresh=True)
    repeats = min(REPEATS, bench.repeats) if bench.smoke else REPEATS
    trials = bench.race(racing, steps, warm_up=lambda *_: None, repeats=repeats, fresh=True)
    for trial in trials:
        if "error" not in trial:
            trial["total"] = trial["start_seconds"] + trial["wall"]
    told = [
        [
            it.name,
            *(
                spread(values(trials, it.name, of), 1)
                for of in ("start_seconds", "session_seconds", "wall", "total", "cpu")
            ),
        ]
        for it in racing
    ]
    columns = [
        "session",
        "imports s",
        "session s",
        "to first write s",
        "process to write s",
        "CPU s",
    ]
    there = jvm.class_archive().is_file()
    notes = [
        "A process a trial; packages are resolved in all of them (Ivy's cache is warm). to first "
        "write s: session and the write of 100 rows to a new Delta table.",
        "" if there else "THERE WAS NO CLASS ARCHIVE: run `gristmill setup` in benchmarks/.venv.",
        weather(trials),
    ]
    return [Section("Session start", columns, told, [it for it in notes if it], trials)]

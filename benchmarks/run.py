"""The benchmarks: every workload beside its peers, interleaved; tables, JSON and Markdown."""

import argparse
import shutil
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench import machine
from bench.results import Section, markdown, show, write
from bench.trials import Bench
from rich.console import Console

HERE = Path(__file__).parent
WORKLOADS = (
    "extractive",
    "transformers_tiny",
    "transformers_31m",
    "shared_prefix",
    "duplicates",
    "loads",
    "transport",
    "growth",
    "refresh",
    "memory",
    "session",
    "streams",
    "look_up",
    "endpoint",
    "resume",
    "journal",
    "sidecar_memory",
    "gpu",
)
THREADS = "torch: 1 thread a worker process, 2 workers (OMP_NUM_THREADS), unless told otherwise."


def main() -> None:
    options = _options()
    console = Console()
    repeats = 1 if options.smoke else options.repeats
    work = HERE / ".work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    wait = 0 if options.smoke else options.wait
    bench = Bench(
        work, repeats, options.smoke, console.log, wait, options.contenders, options.most_rows
    )
    head = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(HERE.parent),
        "machine": machine.facts(),
        "versions": machine.versions(),
        "repeats": repeats,
        "smoke": options.smoke,
        "threads": THREADS,
    }
    console.print(head)
    sections: list[Section] = []
    for name in options.only or WORKLOADS:
        console.rule(name)
        sections += _sections(bench, name)
    for section in sections:
        show(section, console)
    console.print(
        "results:", str(write(head, sections, work if options.smoke else HERE / "results"))
    )
    print("\n" + markdown(head, sections))


def _sections(bench: Bench, name: str) -> list[Section]:
    bench.notes.clear()
    sections = import_module(f"workloads.{name}").run(bench)
    sections[-1].notes.extend(bench.notes)
    shutil.rmtree(bench.work / "out", ignore_errors=True)
    return sections


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one repeat")
    parser.add_argument("--only", action="append", choices=WORKLOADS, metavar="NAME")
    parser.add_argument("--contenders", default="", metavar="REGEX", help="only these, by name")
    most = "largest table of growth and refresh, whose 10^7 rows take an hour"
    parser.add_argument("--most-rows", type=int, default=10_000_000, metavar="N", help=most)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--wait", type=float, default=300, help="seconds to wait for a quiet CPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()

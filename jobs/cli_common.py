"""What the commands share: options, and how results are shown."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table as Grid

from chains.errors import error_codes, hint_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.ledger_care import LedgerConf
    from jobs.settings import JobSettings, Settings
    from jobs.spending import Confirm
    from udfs.work import Work

ERRORS = Console(stderr=True)
OUTPUT = Console()
PENDING_EXIT_CODE = 3


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the settings file, `--set` and `--json`."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    return settings_options(as_json(command))


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the settings file and `--set`."""
    conf = click.argument("conf", type=click.Path(path_type=Path))
    sets = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set any key.")
    return conf(sets(command))


def budget_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--yes`, and `--max-cost` and `--max-tokens`, which it finds among `sets`."""

    @wraps(command)
    def with_budget(
        sets: tuple[str, ...], max_cost: float | None, max_tokens: int | None, **options: Any
    ) -> None:
        given = {"max_cost": max_cost, "max_tokens": max_tokens}
        budget = [f"budget.{key}={value}" for key, value in given.items() if value is not None]
        command(sets=(*sets, *budget), **options)

    cost = click.option("--max-cost", type=float, help="Spend no more; needs a price.")
    tokens = click.option("--max-tokens", type=int, help="Spend no more tokens.")
    yes = click.option("--yes", is_flag=True, help="Spend without a question.")
    return cost(tokens(yes(with_budget)))


def confirm_on(console: Console, yes: bool) -> "Confirm | None":
    """Return what asks whether to spend, on a terminal."""
    if yes or not (console.is_terminal and sys.stdin.isatty()):
        return None
    return lambda spending: click.confirm(f"{spending}. Ask them?", default=False, err=True)


def key_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--key COLUMN=VALUE`, once for each column of a row's key."""
    return click.option(
        "--key", "keys", multiple=True, metavar="COLUMN=VALUE", help="A source row's."
    )(command)


def key_of(keys: Sequence[str]) -> dict[str, str]:
    """Read what `--key` was given."""
    if wrong := [it for it in keys if "=" not in it]:
        raise click.UsageError(f"--key {wrong[0]}: expected COLUMN=VALUE")
    return {column: value for column, _, value in (it.partition("=") for it in keys)}


def codes_option(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the codes of docs/errors.md that it is about."""
    kinds = click.Choice(error_codes())
    return click.option(
        name, "codes", type=kinds, multiple=True, metavar="CODE", help="Only these; all else."
    )


def session(settings: "JobSettings | LedgerConf") -> "SparkSession":
    """Start Spark for a job, or take the session that runs.

    Raises JobError where no executor comes, or a store that the settings name does not answer.
    """
    from jobs.object_stores import check_reachable
    from jobs.session import check_executors, open_session

    spark = open_session(settings.spark, settings.work_dir / "logs")
    check_executors(spark, settings.spark.executor_seconds)
    if settings.spark.storage:
        check_reachable(spark, settings.model_dump())
    return spark


def pinned_session(settings: "Settings") -> "SparkSession":
    """Pin what can be pinned without Spark, then start it."""
    from jobs.pinning import pin_work

    return session_for(pin_work(settings), settings)


def session_for(work: "Work", settings: "JobSettings") -> "SparkSession":
    """Start Spark, and Python workers beside what comes first."""
    from udfs.warming import start_workers

    spark = session(settings)
    start_workers(spark, work.pinned)
    return spark


def show(as_object: str, lines: Mapping[str, str], as_json: bool) -> None:
    """Print a report on standard output: for programs, or for people."""
    if as_json:
        sys.stdout.write(as_object + "\n")
        return
    grid = Grid(show_header=False, box=None)
    for name, value in lines.items():
        grid.add_row(name, value)
    OUTPUT.print(grid)


def exit_if_pending(report: Any) -> None:
    """End the command with its own exit code where rows wait for the next run."""
    if report.is_pending:
        click.get_current_context().exit(PENDING_EXIT_CODE)


def paid_lines(report: Any) -> dict[str, str]:
    """Return what a run over a table asked, paid for and was not answered."""
    by = ", ".join(f"{count:,} by {model}" for model, count in report.completed_by.items())
    several = f" ({by})" if len(report.completed_by) > 1 else ""
    return {
        "prompts": f"{report.distinct:,} distinct, {report.hits:,} from the ledger, "
        f"{report.completed:,} completed now{several}",
        "tokens": f"{report.tokens['input']:,} in, {report.tokens['output']:,} out",
        **cost_line(report.cost),
        **error_lines(report.errors),
    }


def error_lines(errors: Mapping[str, int]) -> dict[str, str]:
    """Return the rows without an answer by code, and what to do about those codes that tell it."""
    hints = {code: hint_of(code) for code in errors}
    to_do = "; ".join(f"{code}: {hint}" for code, hint in hints.items() if hint)
    return {
        "dead letters": ", ".join(f"{rows} {code}" for code, rows in errors.items()) or "none",
        **({"what to do": to_do} if to_do else {}),
    }


def cost_line(cost: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what a run has cost, where that is known."""
    if cost is None:
        return {}
    return {"cost": dated(f"{cost['amount']:,.4f} {cost['currency']}", cost)}


def dated(told: str, cost: Mapping[str, Any]) -> str:
    """Return what is told of a cost with the date of its table of prices, where it is from one."""
    return f"{told}; list prices of {cost['as_of']}" if "as_of" in cost else told


def table_lines(tables: Mapping[str, str]) -> dict[str, str]:
    """Return where the tables of a run are."""
    return {f"{name} table": where for name, where in tables.items()}


def common_lines(seconds: Mapping[str, float], versions: Mapping[str, str]) -> dict[str, str]:
    """Return the lines that all reports end with."""
    return {"seconds": ", ".join(f"{step} {it:.1f}" for step, it in seconds.items()), **versions}

"""The `gristmill` command."""

import logging
from pathlib import Path
from typing import Any

import click
from pyspark.errors import PySparkException
from rich.logging import RichHandler

from chains.errors import GristmillError, UsageError
from jobs.cli_common import (
    ERRORS,
    OUTPUT,
    budget_options,
    budget_sets,
    common_lines,
    confirm_on,
    exit_if_pending,
    job_options,
    paid_lines,
    session,
    show,
    table_lines,
)
from jobs.cli_endpoints import ask, endpoints
from jobs.cli_kafka import kafka
from jobs.cli_prompts import prompts
from jobs.cli_refresh import refresh
from jobs.cli_stream import demo_stream, replay, stream
from jobs.settings import Settings, load_settings, load_settings_of


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code.

    0 done, 1 failed, 2 wrong usage or settings, 3 stopped with rows pending.
    """
    handler = RichHandler(console=ERRORS, show_path=False, show_level=False)
    handler.addFilter(_is_own)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    try:
        code = commands.main(arguments, prog_name="gristmill", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except GristmillError as error:
        ERRORS.print(f"[bold red]{type(error).__name__}[/]:", end=" ")
        ERRORS.print(str(error), markup=False, highlight=False)
        return error.exit_code
    except PySparkException as error:
        ERRORS.print("[bold red]Spark:[/]", end=" ")
        ERRORS.print("\n".join(str(error).splitlines()[:20]), markup=False, highlight=False)
        return 1
    except (click.Abort, KeyboardInterrupt):
        ERRORS.print("stopped; the next run goes on from the ledger")
        return 130
    return int(code or 0)


def _is_own(record: logging.LogRecord) -> bool:
    """Leave out the clients of Spark and Kafka: what matters of what they log, they raise too.

    By the place of the code, for py4j logs to the root logger.
    """
    return not {"py4j", "kafka"}.intersection(Path(record.pathname).parts)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gristmill")
def commands() -> None:
    """LLM chains over Delta tables with Spark; never pay for the same completion twice."""


for command in (refresh, stream, replay, kafka, demo_stream, prompts, endpoints, ask):
    commands.add_command(command)


@commands.command()
@job_options
@budget_options
def batch(
    conf: Path,
    sets: tuple[str, ...],
    as_json: bool,
    max_cost: float | None,
    max_tokens: int | None,
    yes: bool,
) -> None:
    """Complete the rows of a Delta table into another one."""
    from jobs.batch import run_batch
    from jobs.console import watch_on

    settings = load_settings(conf, [*sets, *budget_sets(max_cost, max_tokens)])
    spark = _session(settings)
    report = run_batch(spark, settings, watch_on(ERRORS, spark), confirm_on(ERRORS, yes))
    show(report.json(), _run_lines(report), as_json)
    exit_if_pending(report)


@commands.command()
@job_options
@click.option("--sample", default=0, metavar="N", help="Show N prompts that would be asked.")
def plan(conf: Path, sets: tuple[str, ...], as_json: bool, sample: int) -> None:
    """Print what a batch or a refresh would do, and what it would cost; spends nothing."""
    from jobs.plan import run_plan
    from jobs.refresh_settings import PlanSettings

    settings = load_settings_of(PlanSettings, conf, sets)
    report = run_plan(_session(settings), settings, sample)
    show(report.json(), _plan_lines(report), as_json)


@commands.command()
@job_options
def demo(conf: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Summarize invented financial reports with a small model, on this machine."""
    from jobs.console import watch_on
    from jobs.demo import run_demo, show_summaries

    settings = load_settings(conf, sets)
    spark = _session(settings)
    report = run_demo(spark, settings, watch_on(ERRORS, spark))
    if not as_json:
        show_summaries(spark, settings, OUTPUT)
    show(report.json(), _run_lines(report), as_json)


@commands.command()
@job_options
@click.option("--name", required=True, help="Name in the model registry.")
@click.option("--alias", help="Alias that is moved to the new version.")
def log(conf: Path, sets: tuple[str, ...], as_json: bool, name: str, alias: str | None) -> None:
    """Log the chain and its model in MLflow: for serving, and as models:/NAME@ALIAS."""
    from jobs.log_chain import run_log_chain

    logged = run_log_chain(load_settings(conf, sets), name, alias)
    lines = {
        "name": logged.name,
        "version": logged.version,
        "alias": logged.alias or "none",
        "model": logged.uri,
    }
    show(logged.json(), lines, as_json)


@commands.command()
def setup() -> None:
    """Resolve the JVM packages and archive JVM classes, so that sessions start fast."""
    from jobs.session import archive_classes
    from jobs.settings import SparkSettings

    archive_classes(SparkSettings(), Path(".gristmill/logs"))


def _session(settings: Settings) -> Any:
    """Pin what can be pinned without Spark, then start it."""
    from jobs.pinning import pin_work

    pin_work(settings)
    return session(settings)


def _run_lines(report: Any) -> dict[str, str]:
    return {
        "rows": f"{report.rows:,}, {report.skipped:,} skipped (empty)",
        **paid_lines(report),
        "written": f"{report.written:,} rows",
        **common_lines(report.seconds, report.versions),
        **table_lines(report.tables),
    }


def _plan_lines(report: Any) -> dict[str, str]:
    tokens = report.tokens
    why = ", ".join(f"{rows:,} {name.replace('_', ' ')}" for name, rows in report.reasons.items())
    lines = {
        "rows": f"{report.rows:,}, {report.skipped:,} skipped (empty), {report.errors:,} in error",
        "of them": why or "none has a prompt",
        "prompts": f"{report.distinct:,} distinct, {report.hits:,} in the ledger, "
        f"{report.misses:,} to ask",
        "long": f"{report.long:,} rows in {report.parts:,} parts",
        "tokens": f"{tokens['input']:,} in, {tokens['expected_output']:,} out, "
        f"at most {tokens['output']:,}",
        "cost": _cost_line(report.cost),
        "time": "unknown before the first run"
        if report.expected_seconds is None
        else f"{report.expected_seconds:,.0f} s of answering, at the pace of the last runs",
        **common_lines(report.seconds, report.versions),
    }
    return lines | {f"prompt {i + 1}": text for i, text in enumerate(report.sample)}


def _cost_line(cost: Any) -> str:
    if cost is None:
        return "unknown: set chain.price"
    return f"{cost['expected']:,.4f} {cost['currency']}, at most {cost['most']:,.4f}"

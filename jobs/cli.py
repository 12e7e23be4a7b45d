"""The `gristmill` command."""

import logging
from pathlib import Path

import click
from rich.logging import RichHandler

from chains.errors import INTERRUPTED, GristmillError, UsageError
from jobs.cli_batch import batch, plan, run_lines
from jobs.cli_common import ERRORS, OUTPUT, job_options, pinned_session, show
from jobs.cli_endpoints import ask, endpoints
from jobs.cli_kafka import kafka
from jobs.cli_ledger import ledger
from jobs.cli_prompts import prompts
from jobs.cli_refresh import refresh
from jobs.cli_replay import replay
from jobs.cli_retry import retry
from jobs.cli_runs import report, runs
from jobs.cli_stream import demo_stream, stream
from jobs.failures import FOREIGN, told
from jobs.settings import load_settings

_TALKATIVE = frozenset({"py4j", "kafka", "opentelemetry", "httpx", "httpx2", "matplotlib"})


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code.

    0 done, 1 failed, 2 wrong usage or settings, 3 stopped with rows pending, 130 stopped by Ctrl-C.
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
        _say(type(error).__name__, str(error))
        return error.exit_code
    except FOREIGN as error:
        _say("Spark", told(error))
        return 1
    except OSError as error:  # a file that cannot be written; click sees to a broken pipe
        _say(type(error).__name__, str(error))
        return 1
    except (click.Abort, KeyboardInterrupt):
        ERRORS.print("stopped; the next run goes on from the ledger")
        return INTERRUPTED
    return int(code or 0)


def _say(what: str, why: str) -> None:
    ERRORS.print(f"[bold red]{what}:[/]", end=" ")
    ERRORS.print(why, markup=False, highlight=False, soft_wrap=True)


def _is_own(record: logging.LogRecord) -> bool:
    """Leave out the libraries that tell every request: what matters of it is told otherwise too.

    By the place of the code, for py4j logs to the root logger.
    """
    return _TALKATIVE.isdisjoint(Path(record.pathname).parts)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gristmill")
def commands() -> None:
    """LLM chains over Delta tables with Spark; never pay for the same completion twice."""


for command in (
    batch,
    plan,
    refresh,
    retry,
    runs,
    report,
    stream,
    replay,
    ledger,
    kafka,
    demo_stream,
    prompts,
    endpoints,
    ask,
):
    commands.add_command(command)


@commands.command()
@job_options
def demo(conf: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Summarize invented financial reports with a small model, on this machine."""
    from jobs.console import watch_on
    from jobs.demo import run_demo, show_summaries

    settings = load_settings(conf, sets)
    spark = pinned_session(settings)
    done = run_demo(spark, settings, watch_on(ERRORS, spark))
    if not as_json:
        show_summaries(spark, settings, OUTPUT)
    show(done.json(), run_lines(done), as_json)


@commands.command("demo-cluster")
@job_options
@click.option("--dist", type=click.Path(path_type=Path), default=Path("dist"), show_default=True)
def demo_cluster(conf: Path, sets: tuple[str, ...], as_json: bool, dist: Path) -> None:
    """Submit the demo to a Spark cluster of two workers, on this machine."""
    from jobs.cluster_demo import run_demo_cluster

    folder = load_settings(conf, sets).work_dir.absolute() / "cluster"
    words = [str(conf), *(f"--set={it}" for it in sets), *(["--json"] if as_json else [])]
    run_demo_cluster(dist, folder, words)


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

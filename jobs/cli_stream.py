"""The commands `gristmill stream` and `demo-stream`."""

import signal
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import click

from jobs.cli_common import (
    OUTPUT,
    common_lines,
    cost_line,
    error_lines,
    job_options,
    session,
    session_for,
    show,
)
from jobs.settings import load_settings_of


@click.command()
@job_options
@click.option("--available-now", is_flag=True, help="Read what is there, then stop.")
@click.option("--trigger", metavar="INTERVAL", help="Begin a micro-batch so often: '5 seconds'.")
def stream(
    conf: Path, sets: tuple[str, ...], as_json: bool, available_now: bool, trigger: str | None
) -> None:
    """Complete the messages of a topic into a Delta table, until it is stopped."""
    from jobs.pinning import pin_stream
    from jobs.stream import Stream, Trigger
    from jobs.stream_settings import StreamSettings

    if available_now and trigger:
        raise click.UsageError("--available-now and --trigger exclude each other")
    settings = load_settings_of(StreamSettings, conf, sets)
    running = Stream(session_for(pin_stream(settings), settings), settings)
    if current_thread() is main_thread():  # no other may set handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
    totals = running.run(Trigger(trigger, available_now))
    show(totals.json(), _stream_lines(totals), as_json)


@click.command("demo-stream")
@job_options
def demo_stream(conf: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Stream invented customer events through a broker on this machine."""
    from jobs.stream_demo import run_demo_stream, show_messages
    from jobs.stream_settings import StreamSettings

    spark = session(load_settings_of(StreamSettings, conf, sets))
    totals, settings = run_demo_stream(spark, conf, sets)
    if not as_json:
        show_messages(spark, settings, OUTPUT)
    show(totals.json(), _stream_lines(totals), as_json)


def _stream_lines(totals: Any) -> dict[str, str]:
    return {
        "micro-batches": f"{totals.batches:,}",
        "rows": f"{totals.rows:,}, {totals.skipped:,} skipped (empty)",
        "prompts": f"{totals.new:,} asked now, {totals.cached:,} cached",
        "tokens": f"{totals.tokens['input']:,} in, {totals.tokens['output']:,} out",
        **cost_line(totals.cost),
        **error_lines(totals.errors),
        **common_lines(totals.seconds, {}),
    }

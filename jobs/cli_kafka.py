"""The commands `gristmill kafka ...`: a broker on this machine, for trying streams out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chains.errors import JobError

if TYPE_CHECKING:
    from jobs.broker import Broker


@click.group()
def kafka() -> None:
    """Start and stop a Kafka broker on this machine, to try streams out."""


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".gristmill/kafka"),
    show_default=True,
    help="Where its topics, its log and its pid are.",
)


@kafka.command()
@_folder
@click.option("--port", type=click.IntRange(1, 65535), default=9092, show_default=True)
def start(folder: Path, port: int) -> None:
    """Start the broker; it goes on until it is stopped."""
    broker = _broker(folder, port)
    state = "runs now" if broker.start() else "ran already"
    click.echo(f"Kafka {state} at {broker.bootstrap}; its topics and its log are in {folder}")


@kafka.command()
@_folder
def stop(folder: Path) -> None:
    """Stop the broker; its topics are kept."""
    state = "stopped" if _broker(folder).stop() else "was not running"
    click.echo(f"Kafka {state}; its topics and its log are in {folder}")


def _broker(folder: Path, port: int | None = None) -> "Broker":
    try:
        from jobs.broker import Broker
    except ModuleNotFoundError as error:
        raise JobError(f"{error}: pip install 'gristmill[spark,kafka]'") from error
    return Broker(folder, port)

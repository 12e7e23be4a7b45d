"""The commands `gristmill kafka ...`: a broker on this machine, for trying streams out."""

from pathlib import Path

import click


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
    from jobs.broker import Broker

    broker = Broker(folder, port)
    state = "runs now" if broker.start() else "ran already"
    click.echo(f"Kafka {state} at {broker.bootstrap}; its topics and its log are in {folder}")


@kafka.command()
@_folder
def stop(folder: Path) -> None:
    """Stop the broker; its topics are kept."""
    from jobs.broker import Broker

    state = "stopped" if Broker(folder).stop() else "was not running"
    click.echo(f"Kafka {state}; its topics and its log are in {folder}")

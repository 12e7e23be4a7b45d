"""The jobs as plain functions: for `python_wheel_task`, spark-submit, schedulers and shells.

`gristmill-batch --conf job.yml --source.table main.reports` is `gristmill batch job.yml --set
source.table=main.reports`. A function returns where its job is done, and raises SystemExit with the
job's exit code, never 0, where it is not: a cluster takes any SystemExit for a failure.
"""

import sys
from collections.abc import Sequence

import click

from jobs.cli import commands, main

_FALSE = ("false", "no", "off", "0")


def batch(arguments: Sequence[str] | None = None) -> None:
    """Complete the rows of a Delta table into another one; by default `sys.argv` is read."""
    run("batch", arguments)


def refresh(arguments: Sequence[str] | None = None) -> None:
    """Bring a table of completions in step with its source."""
    run("refresh", arguments)


def stream(arguments: Sequence[str] | None = None) -> None:
    """Complete the messages of a topic into a Delta table."""
    run("stream", arguments)


def plan(arguments: Sequence[str] | None = None) -> None:
    """Print what a batch run would do; spends nothing."""
    run("plan", arguments)


def run(name: str, arguments: Sequence[str] | None = None) -> None:
    """Run any command of `gristmill` as a job; a group of commands takes its words as they are."""
    words = sys.argv[1:] if arguments is None else arguments
    command = commands.commands.get(name)
    if command is not None and not isinstance(command, click.Group):
        words = command_line(command, words)
    code = main([name, *words])
    if code:
        raise SystemExit(code)


def command_line(command: click.Command, words: Sequence[str]) -> list[str]:
    """Return a job's words as those of its command.

    `--name value` and `--name=value` are the command's own option, or a setting; `--conf` is the
    settings file. An own option without a value may get one, as named parameters have it:
    `--available-now=true`.
    """
    options = {name: it for it in command.params for name in it.opts if name.startswith("-")}
    line, left = [], list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        option = options.get(name)
        if isinstance(option, click.Option) and option.is_flag:
            line += [] if value.lower() in _FALSE else [name]
        elif name in ("--help", "-h") or not name.startswith("--"):
            line.append(name + equals + value)
        else:
            if not equals and left and not left[0].startswith("--"):
                equals, value = "=", left.pop(0)
            line += _named(name, equals, value, own=option is not None)
    return line


def _named(name: str, equals: str, value: str, own: bool) -> list[str]:
    if name == "--conf":
        return [value] if equals else []
    if own:
        return [name, value] if equals else [name]
    return ["--set", f"{name.removeprefix('--')}{equals}{value}"]

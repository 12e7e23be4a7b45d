"""What a scheduler's words make of a job, without running it."""

import tomllib
from pathlib import Path

import yaml

from jobs.cli import commands
from jobs.entry_points import command_line
from jobs.refresh_settings import PlanSettings, RefreshSettings
from jobs.settings import Settings, load_settings_of
from jobs.stream_settings import StreamSettings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KINDS = {
    "batch": Settings,
    "plan": PlanSettings,
    "refresh": RefreshSettings,
    "stream": StreamSettings,
}


def read_yaml(path):
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def settings_of(name, words):
    """Return the settings that a job gets from its words. Raises where it would refuse them."""
    command = commands.commands[name]
    given = command.make_context(name, command_line(command, words)).params
    budget = [
        f"budget.{key}={given[key]}"
        for key in ("max_cost", "max_tokens")
        if given.get(key) is not None
    ]
    return load_settings_of(KINDS[name], given["conf"], [*given["sets"], *budget])


def spark_conf():
    """Return what conf/cluster/spark.conf sets."""
    lines = (ROOT / "conf/cluster/spark.conf").read_text("utf-8").splitlines()
    return dict(line.split(None, 1) for line in lines if not line.startswith("#"))

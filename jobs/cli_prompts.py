"""The commands `gristmill prompts ...`: templates as assets of an MLflow registry."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table as Grid

from jobs.cli_common import OUTPUT

if TYPE_CHECKING:
    from chains.prompt_registry import PromptRegistry
    from jobs.prompts import Compared

WORK_DIR = Path(".gristmill")
_STORE_VARIABLE = "GRISTMILL_MLFLOW__TRACKING_URI"


@click.group()
def prompts() -> None:
    """Move prompt templates between files and the MLflow Prompt Registry."""


_store = click.option(
    "--store",
    metavar="URI",
    envvar=_STORE_VARIABLE,
    show_envvar=True,
    help=f"The MLflow store; default: sqlite in {WORK_DIR}, as jobs have it.",
)
_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Files NAME@VERSION.md; default: the templates that came with gristmill.",
)
_target = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where the files go, as NAME@VERSION.md.",
)


@prompts.command()
@click.argument("refs", nargs=-1)
@_store
@_folder
def push(refs: tuple[str, ...], store: str | None, folder: Path | None) -> None:
    """Register templates: NAME, NAME@VERSION or FILE.md; default: all of the folder."""
    from jobs.prompts import Files
    from jobs.prompts import push as run_push

    if store is None:
        WORK_DIR.mkdir(exist_ok=True)
    _show_done(run_push(_registry(store), Files.of(folder).chosen(refs)))


@prompts.command()
@click.argument("refs", nargs=-1, required=True)
@_store
@_target
def pull(refs: tuple[str, ...], store: str | None, folder: Path) -> None:
    """Write registered templates to files: NAME, NAME@VERSION or NAME@ALIAS."""
    from jobs.prompts import pull as run_pull

    _show_done(run_pull(_registry(store), refs, folder))


@prompts.command("list")
@_store
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_prompts(store: str | None, folder: Path | None, as_json: bool) -> None:
    """List names, versions in both places, and aliases."""
    from jobs.prompts import Files, listed, listed_json

    found = listed(_registry(store), Files.of(folder))
    if as_json:
        sys.stdout.write(listed_json(found) + "\n")
        return
    grid = Grid("prompt", "files", "registry", "aliases", box=None)
    for it in found:
        aliases = ", ".join(f"{alias}: {version}" for alias, version in it.aliases.items())
        grid.add_row(it.name, ", ".join(it.files), ", ".join(it.registry), aliases)
    OUTPUT.print(grid)


@prompts.command()
@click.argument("refs", nargs=-1)
@_store
@_folder
@click.pass_context
def diff(
    context: click.Context, refs: tuple[str, ...], store: str | None, folder: Path | None
) -> None:
    """Compare registry and files; exit code 1 where they are not the same."""
    from jobs.prompts import SAME, Files
    from jobs.prompts import diff as run_diff

    compared = run_diff(_registry(store), Files.of(folder), refs)
    for it in compared:
        _show_compared(it)
    if any(it.state != SAME for it in compared):
        context.exit(1)


@prompts.command()
@click.argument("alias", metavar="NAME@ALIAS")
@click.argument("version")
@_store
def alias(alias: str, version: str, store: str | None) -> None:
    """Make NAME@ALIAS name a registered version."""
    from jobs.prompts import set_alias

    set_alias(_registry(store), alias, version)
    _show_done({alias: f"names version {version}"})


def _show_done(done: Mapping[str, str]) -> None:
    """Print one line for each thing that was done."""
    for what, how in done.items():
        click.echo(f"{what}: {how}")


def _show_compared(compared: "Compared") -> None:
    click.echo(f"{compared.ref}: {compared.state}")
    for line in compared.lines:
        click.echo(line.removesuffix("\n"))


def _registry(store: str | None) -> "PromptRegistry":
    from chains.prompt_registry import PromptRegistry

    return PromptRegistry(store or f"sqlite:///{WORK_DIR.absolute() / 'mlflow.db'}")

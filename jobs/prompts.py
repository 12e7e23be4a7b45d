"""Templates between files and the MLflow Prompt Registry: push, pull, compare, list, alias."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import unified_diff
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from chains.errors import TemplateError
from chains.prompt_registry import PromptRegistry, is_version
from chains.registered import find_registered
from chains.templates import (
    Template,
    load_template,
    read_template,
    released_names,
    released_versions,
    version_order,
)

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
PUSHED, WRITTEN, UNCHANGED = "pushed", "written", "is there already, unchanged"
SAME, DIFFERENT = "same", "different"


@dataclass(frozen=True)
class Listed:
    """A prompt's versions in both places; `aliases` are the registry's, each with its version."""

    name: str
    files: tuple[str, ...]
    registry: tuple[str, ...]
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class Compared:
    """One version in both places: the state in words, and the lines of a unified diff."""

    ref: str
    state: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """A folder of files `NAME@VERSION.md`; by default the templates that travel in the package."""

    folder: Traversable

    @classmethod
    def of(cls, folder: Path | None) -> "Files":
        """Raise TemplateError where there is no such folder."""
        if folder is not None and not folder.is_dir():
            raise TemplateError(f"no folder of templates {str(folder)!r}")
        return cls(resources.files("prompt_templates") if folder is None else folder)

    def names(self) -> list[str]:
        """Names of the templates, sorted."""
        return released_names(self.folder)

    def versions(self, name: str) -> list[str]:
        """Versions of one template, lowest first."""
        return released_versions(name, self.folder)

    def load(self, name: str, version: str) -> Template:
        """Read one version. Raises TemplateError where the file says it is another one."""
        file = self.folder / f"{name}@{version}.md"
        template = read_template(file)
        if (template.name, template.version) != (name, version):
            raise TemplateError(f"{file}: its front matter says that it is {template.ref}")
        return template

    def chosen(self, refs: Sequence[str]) -> list[Template]:
        """Read what is named by name, `NAME@VERSION` or the path of a `.md` file; else all.

        Raises TemplateError where there is nothing of it.
        """
        if not refs and not self.names():
            raise TemplateError(f"{self.folder}: expected files NAME@VERSION.md, found none")
        return [it for ref in refs or self.names() for it in self._named(ref)]

    def _named(self, ref: str) -> list[Template]:
        if ref.endswith(".md"):
            return [load_template(ref)]
        name, _, version = ref.partition("@")
        there = self.versions(name)
        if not there or (version and version not in there):
            raise TemplateError(
                f"template {ref!r}: the folder has of {name!r} the versions {there}; its names "
                f"are {self.names()}"
            )
        return [self.load(name, it) for it in there if version in ("", it)]


def push(registry: PromptRegistry, templates: Sequence[Template]) -> dict[str, str]:
    """Register what the registry has not; return what was done by `NAME@VERSION`.

    Raises TemplateError, before anything is registered, where a version is there with another text.
    """
    names = {it.name for it in templates}
    there = {it.ref: it for name in names for it in _registered(registry, name)}
    seen = dict(there)
    for template in templates:
        _check_pushed(template, seen.setdefault(template.ref, template))
    for template in seen.values():
        if template.ref not in there:
            registry.add(template)
    return {it.ref: UNCHANGED if it.ref in there else PUSHED for it in templates}


def pull(registry: PromptRegistry, refs: Sequence[str], folder: Path) -> dict[str, str]:
    """Write versions of the registry as files; return what was done by path.

    A ref is `NAME` (all its versions), `NAME@VERSION` or `NAME@ALIAS`. Raises TemplateError, before
    anything is written, where a file is there with another text.
    """
    texts = {
        folder / f"{it.ref}.md": it.source.encode() for ref in refs for it in _pulled(registry, ref)
    }
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text:
            raise TemplateError(
                f"{path}: is there with another text, see `gristmill prompts diff`; move it away "
                "to pull"
            )
    done = {str(path): UNCHANGED if path.exists() else WRITTEN for path in texts}
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_bytes(text)
    return done


def diff(registry: PromptRegistry, files: Files, refs: Sequence[str] = ()) -> list[Compared]:
    """Compare versions of files and registry; a ref is as in `push`, by default all of both."""
    names = sorted({*files.names(), *registry.names()})
    return [it for ref in refs or names for it in _compared_all(registry, files, ref)]


def listed(registry: PromptRegistry, files: Files) -> list[Listed]:
    """All prompts of both places."""
    registered = set(registry.names())
    return [
        _listed(registry, files, name, name in registered)
        for name in sorted({*files.names(), *registered})
    ]


def listed_json(prompts: Sequence[Listed]) -> str:
    """Return one JSON object."""
    return json.dumps({"prompts": [asdict(it) for it in prompts]})


def set_alias(registry: PromptRegistry, ref: str, version: str) -> None:
    """Make `NAME@ALIAS` name a version of the registry. Raises TemplateError for what is none."""
    name, _, alias = ref.partition("@")
    if not name or not alias or is_version(alias):
        raise TemplateError(f"expected NAME@ALIAS with an alias that is no number, found {ref!r}")
    number = registry.number(name, version)
    registry.load_number(name, number)
    registry.set_alias(name, alias, number)


def _registered(registry: PromptRegistry, name: str) -> list[Template]:
    """Return the versions of a prompt that are templates; the first of each."""
    if name not in registry.names():
        return []
    found = [it.template for it in reversed(registry.versions(name))]
    return list({it.ref: it for it in found if isinstance(it, Template)}.values())[::-1]


def _check_pushed(template: Template, there: Template) -> None:
    if not _NAME.fullmatch(template.name) or not is_version(template.version):
        raise TemplateError(
            f"template {template.ref!r}: the registry takes letters, digits, '_', '-' and '.' as "
            "the name, and a whole number as the version"
        )
    if template.source != there.source:
        raise TemplateError(
            f"template {template.ref!r}: is registered with another text, see `gristmill prompts "
            "diff`; a released version is never edited: give the change the next `version`"
        )


def _pulled(registry: PromptRegistry, ref: str) -> list[Template]:
    name, _, wanted = ref.partition("@")
    if wanted:
        return [find_registered(registry, name, wanted)]
    found = _registered(registry, name)
    if not found:
        raise TemplateError(f"no prompt {name!r} in the registry; there are {registry.names()}")
    return found


def _compared_all(registry: PromptRegistry, files: Files, ref: str) -> list[Compared]:
    if ref.endswith(".md"):
        own = load_template(ref)
        here, name, version = {own.version: own}, own.name, own.version
    else:
        name, _, version = ref.partition("@")
        here = {it: files.load(name, it) for it in files.versions(name)}
    there = {it.version: it for it in _registered(registry, name)}
    chosen = sorted({it for it in {*here, *there} if version in ("", it)}, key=version_order)
    if not chosen:
        raise TemplateError(f"no template {ref!r}, neither in the files nor in the registry")
    return [_compared(f"{name}@{it}", here.get(it), there.get(it)) for it in chosen]


def _compared(ref: str, here: Template | None, there: Template | None) -> Compared:
    if here is None or there is None:
        return Compared(ref, "only in the registry" if here is None else "only in the files")
    if here.source == there.source:
        return Compared(ref, SAME)
    before, after = (it.source.splitlines(keepends=True) for it in (there, here))
    lines = unified_diff(before, after, f"registry/{ref}", f"files/{ref}")
    return Compared(ref, DIFFERENT, tuple(lines))


def _listed(registry: PromptRegistry, files: Files, name: str, registered: bool) -> Listed:
    found = registry.versions(name) if registered else []
    versions = {it.number: it.version for it in found if it.version}
    aliases = registry.aliases(name) if registered else {}
    return Listed(
        name,
        tuple(files.versions(name)),
        tuple(sorted(set(versions.values()), key=version_order)),
        {alias: versions.get(number, "no template") for alias, number in aliases.items()},
    )

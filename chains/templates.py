"""Prompt templates: load, check and render them.

A template is a text file: YAML front matter between `---` lines, then a Jinja body. The body is one
user message, or several, each opened by a line `[[system]]`, `[[user]]` or `[[assistant]]`.
Templates are code: they come from the package or from a file that the settings name, never from
data. Values are substituted in one pass, so template syntax inside data stays plain text.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, cast

import jinja2
import yaml
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict

from chains.errors import TemplateError
from chains.models.base import Message

Role = Literal["system", "user", "assistant"]
VariableType = Literal["string", "integer", "number", "boolean", "any"]

ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
_ROLE_LINE = re.compile(r"^\[\[(system|user|assistant)\]\]\s*$", re.MULTILINE)


class _FrontMatter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    version: str
    description: str
    variables: dict[str, VariableType]


@dataclass(frozen=True)
class Template:
    """A prompt template; `variables` maps each variable to the type of value it takes."""

    name: str
    version: str
    description: str
    variables: Mapping[str, VariableType]
    bodies: tuple[tuple[Role, str], ...]
    source: str

    @property
    def ref(self) -> str:
        """`name@version`, as rows carry it."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """sha256 of the file's text; what the lock of released templates holds."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def render(self, values: Mapping[str, Any]) -> tuple[Message, ...]:
        """Fill in one row's values. Raises jinja2.TemplateError where they do not fit."""
        return tuple(
            Message(role=role, content=_constant(body) or _compiled(body).render(values))
            for role, body in self.bodies
        )


def as_text(messages: Sequence[Message]) -> str:
    """Return messages as a person reads them."""
    return "\n\n".join(f"{it['role']}: {it['content']}" for it in messages)


def load_template(ref: str) -> Template:
    """Load `name@version`, `name` (its highest version) or the path of a `.md` file.

    Raises TemplateError when there is no such template or it is malformed.
    """
    if ref.endswith(".md"):
        if not Path(ref).is_file():
            raise TemplateError(f"no template file {ref!r}")
        return read_template(Path(ref))
    name, _, version = ref.partition("@")
    found = released_versions(name)
    if not found:
        known = ", ".join(released_names())
        raise TemplateError(
            f"no template named {name!r}; there are: {known}; one of the MLflow registry is named "
            f"with its version or alias, {name}@1"
        )
    version = version or found[-1]
    if version not in found:
        raise TemplateError(f"template {name!r} has no version {version!r}; it has {found}")
    return read_template(_package() / f"{name}@{version}.md")


def read_template(file: Traversable) -> Template:
    """Read a file, its line ends as they are. Raises TemplateError; see `parse_template`."""
    try:
        return parse_template(file.read_bytes().decode("utf-8"), where=str(file))
    except UnicodeDecodeError as error:
        raise TemplateError(f"{file}: is not UTF-8: {error.reason}") from None


def used_variables(body: str, where: str) -> set[str]:
    """Return the names that a body takes from outside.

    Raises TemplateError for broken Jinja, and for filters, tests and files that there are not.
    """
    try:
        tree = ENVIRONMENT.parse(body)
        _check_used(tree)
        return meta.find_undeclared_variables(tree)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{where}: line {error.lineno} of a message: {error.message}") from None


def released_names(folder: Traversable | None = None) -> list[str]:
    """Names of the templates in a folder (default: those that travel in the package), sorted."""
    return sorted({name for name, _ in _released(folder)})


def released_versions(name: str, folder: Traversable | None = None) -> list[str]:
    """Versions of one template, lowest first."""
    return sorted((v for n, v in _released(folder) if n == name), key=version_order)


def version_order(version: str) -> tuple[int, str]:
    """Return the key by which 10 comes after 9."""
    return len(version), version


def parse_template(text: str, where: str) -> Template:
    """Read a template's text; `where` names it in errors.

    Raises TemplateError for broken front matter, broken Jinja, or variables that are used but not
    declared (or declared but not used), all of them at once.
    """
    parts = re.split(r"^---\s*$", text, maxsplit=2, flags=re.MULTILINE)
    if len(parts) != 3 or parts[0].strip():
        raise TemplateError(f"{where}: expected front matter between two '---' lines at the top")
    try:
        front = _FrontMatter.model_validate(yaml.safe_load(parts[1]))
    except (yaml.YAMLError, ValueError) as error:  # the latter also for a day that is none
        raise TemplateError(f"{where}: front matter: {error}") from None
    bodies = _split_roles(parts[2], where)
    _check_variables(where, bodies, set(front.variables))
    return Template(
        name=front.name,
        version=front.version,
        description=front.description,
        variables=front.variables,
        bodies=bodies,
        source=text,
    )


def _package() -> Traversable:
    return resources.files("prompt_templates")


def _released(folder: Traversable | None = None) -> list[tuple[str, str]]:
    files = (folder or _package()).iterdir()
    stems = [file.name.removesuffix(".md") for file in files if file.name.endswith(".md")]
    return [(name, version) for name, at, version in (stem.partition("@") for stem in stems) if at]


def _split_roles(body: str, where: str) -> tuple[tuple[Role, str], ...]:
    head, *rest = _ROLE_LINE.split(body)
    if not rest:
        return (("user", head.strip()),)
    if head.strip():
        raise TemplateError(f"{where}: text before the first role line belongs to no message")
    roles, texts = rest[::2], rest[1::2]
    return tuple((cast(Role, role), text.strip()) for role, text in zip(roles, texts, strict=True))


def _check_variables(where: str, bodies: tuple[tuple[Role, str], ...], declared: set[str]) -> None:
    used = set().union(*(used_variables(body, where) for _, body in bodies))
    if used != declared:
        raise TemplateError(
            f"{where}: variables used but not declared: {sorted(used - declared)}; "
            f"declared but not used: {sorted(declared - used)}"
        )


def _check_used(tree: nodes.Template) -> None:
    """Raise TemplateSyntaxError for what Jinja may find out only when a row is rendered."""
    for kind, known in ((nodes.Filter, ENVIRONMENT.filters), (nodes.Test, ENVIRONMENT.tests)):
        for used in tree.find_all(kind):
            if used.name not in known:
                message = f"No {kind.__name__.lower()} named {used.name!r}."
                raise jinja2.TemplateSyntaxError(message, used.lineno)
    for taken in tree.find_all((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)):
        raise jinja2.TemplateSyntaxError("A template takes nothing from other files.", taken.lineno)


@cache
def _compiled(body: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(body)


@cache
def _constant(body: str) -> str | None:
    """Return what a body without variables always renders to: most system messages."""
    tree = ENVIRONMENT.parse(body)
    return None if meta.find_undeclared_variables(tree) else _compiled(body).render()

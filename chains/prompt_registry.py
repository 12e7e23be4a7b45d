"""Prompt templates in the MLflow Prompt Registry: the same text as their files.

The text of a prompt's version is a whole template file, so nothing is lost on the way there and
back. A version is named as its front matter says; MLflow counts on its own, which differs where
templates were not registered in their order. A prompt that another tool registered has no front
matter: its version is MLflow's number, its variables may have any value.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from chains.errors import SettingsError, TemplateError
from chains.templates import (
    Template,
    load_template,
    parse_template,
    released_versions,
    used_variables,
    version_order,
)
from chains.tracking import (
    ABSENT,
    asking_mlflow,
    check_database,
    connect,
    database_is_there,
    impatient,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import PromptVersion

_VERSION = re.compile(r"[1-9][0-9]*")
_ROLES = ("system", "user", "assistant")
_Asked = TypeVar("_Asked")


def is_version(wanted: str) -> bool:
    """Tell a version from an alias: versions are whole numbers."""
    return _VERSION.fullmatch(wanted) is not None


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the registry: MLflow's number, and the template or why it is none."""

    number: int
    template: Template | TemplateError

    @property
    def version(self) -> str | None:
        """The template's own version."""
        return self.template.version if isinstance(self.template, Template) else None


class PromptRegistry:
    """The prompts of an MLflow store; errors name the store.

    Raises StoreError where the store cannot be asked, TemplateError for what it has not.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    def names(self) -> list[str]:
        """Names of all prompts, sorted; none where the store's database does not exist yet."""
        if not database_is_there(self.tracking_uri):
            return []
        with self._asking("cannot list the prompts"):
            return sorted(it.name for it in _pages(self._client.search_prompts))

    def versions(self, name: str) -> list[RegisteredVersion]:
        """All versions of a prompt, the first first; none where there is no such prompt."""
        with self._asking(f"cannot get the versions of prompt {name!r}"):
            check_database(self.tracking_uri)
            return self._versions(name)

    def aliases(self, name: str) -> dict[str, int]:
        """Aliases of a prompt, sorted, and MLflow's number of the version that each names."""
        with self._asking(f"cannot get the aliases of prompt {name!r}"):
            check_database(self.tracking_uri)
            return self._aliases(name)

    def number_of(self, name: str, alias: str) -> int:
        """MLflow's number of the version that an alias names now; one question to the store."""
        with self._asking(f"cannot get prompt {f'{name}@{alias}'!r}"):
            check_database(self.tracking_uri)
            prompt = _absent_is_none(lambda: self._client.get_prompt_version_by_alias(name, alias))
            if prompt is None:
                raise TemplateError(
                    f"prompt {name!r}: expected the alias {alias!r} in the MLflow registry, found "
                    f"{self._known(name)}; set it with `gristmill prompts alias {name}@{alias} "
                    "VERSION`"
                )
            return int(prompt.version)

    def load(self, name: str, version: str) -> Template:
        """Return the template of a version, which is that of its front matter."""
        return self.load_number(name, self.number(name, version))

    def number(self, name: str, version: str) -> int:
        """MLflow's number of a template's version."""
        found = [it.number for it in self.versions(name) if it.version == version]
        if not found:
            raise TemplateError(
                f"template {f'{name}@{version}'!r}: the files have the versions "
                f"{released_versions(name)}, the MLflow registry has {self._known(name)}; "
                "`gristmill prompts list` says what there is"
            )
        return found[0]

    def load_number(self, name: str, number: int) -> Template:
        """Return the template that MLflow counts as `number`.

        Raises TemplateError where its version has another text elsewhere: what a row says must
        name one text.
        """
        versions = {it.number: it.template for it in self.versions(name)}
        template = versions.get(number, TemplateError(f"prompt {name!r} has no number {number}"))
        if isinstance(template, TemplateError):
            raise template
        if template.version in released_versions(name):
            _check_same(template, number, load_template(template.ref), "a file")
        for other, it in versions.items():
            if isinstance(it, Template) and it.version == template.version:
                _check_same(template, number, it, f"MLflow's version {other}")
        return template

    def add(self, template: Template) -> None:
        """Register a template as the next version of the prompt of its name."""
        with self._asking(f"cannot register {template.ref!r}"):
            if self._client.get_prompt(template.name) is None:
                self._client.create_prompt(template.name, description=template.description)
            self._client.create_prompt_version(
                template.name,
                template.source,
                description=template.description,
                tags={"gristmill_template": template.ref},
            )

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Make an alias name the version that MLflow counts as `number`."""
        with self._asking(f"cannot set {f'{name}@{alias}'!r}"):
            self._client.set_prompt_alias(name, alias, number)

    @cached_property
    def _client(self) -> "MlflowClient":
        return connect(self.tracking_uri)

    @contextmanager
    def _asking(self, failure: str) -> Iterator[None]:
        remedy = "register templates with `gristmill prompts push`"
        with asking_mlflow(failure, self.tracking_uri, SettingsError, remedy), impatient():
            yield

    def _versions(self, name: str) -> list[RegisteredVersion]:
        def search(page_token: str | None) -> Any:
            return self._client.search_prompt_versions(name, page_token=page_token)

        prompts = _absent_is_none(lambda: list(_pages(search))) or []
        found = [RegisteredVersion(int(it.version), _template_of(it)) for it in prompts]
        return sorted(found, key=lambda it: it.number)

    def _aliases(self, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for it in self._versions(name):  # MLflow leaves aliases out where it lists versions
            prompt = self._client.get_prompt_version(name, it.number)
            found |= dict.fromkeys(prompt.aliases if prompt else (), it.number)
        return dict(sorted(found.items()))

    def _known(self, name: str) -> str:
        """Say what the registry has of a prompt."""
        versions = self._versions(name)
        if not versions:
            return "no prompt of this name"
        own = sorted({it.version for it in versions if it.version}, key=version_order)
        return f"the versions {own} and the aliases {list(self._aliases(name))}"


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _absent_is_none(ask: Callable[[], _Asked]) -> _Asked | None:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return None


def _check_same(template: Template, number: int, other: Template, where: str) -> None:
    if template.source != other.source:
        raise TemplateError(
            f"MLflow's version {number} of prompt {template.name!r} is {template.ref}, and so is "
            f"{where}, with another text; a version is never edited: give the change a `version` "
            "of its own"
        )


def _template_of(prompt: "PromptVersion") -> Template | TemplateError:
    where = f"MLflow's version {prompt.version} of prompt {prompt.name!r}"
    try:
        template = parse_template(_text_of(prompt, where), where)
        _check_name(template, prompt.name, where)
    except TemplateError as error:
        return error
    return template


def _check_name(template: Template, name: str, where: str) -> None:
    if template.name != name or not is_version(template.version):
        raise TemplateError(
            f"{where}: expected the name {name!r} and a whole number as the version in its front "
            f"matter, found {template.ref!r}"
        )


def _text_of(prompt: "PromptVersion", where: str) -> str:
    """Return the text as a template file has it."""
    text = prompt.template
    if isinstance(text, str) and text.startswith("---"):
        return text
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    body = "\n\n".join(_message(it, where) for it in messages)
    front = {
        "name": prompt.name,
        "version": str(prompt.version),
        "description": prompt.commit_message or "",
        "variables": dict.fromkeys(sorted(used_variables(body, where)), "any"),
    }
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{body}\n"


def _message(message: Mapping[str, Any], where: str) -> str:
    role, text = (dict(message).get(it) for it in ("role", "content"))
    if role not in _ROLES or not isinstance(text, str):
        raise TemplateError(f"{where}: expected messages of text by {', '.join(_ROLES)}")
    if re.search(rf"^\[\[({'|'.join(_ROLES)})\]\]\s*$", text, re.MULTILINE):
        raise TemplateError(f"{where}: a message has a line that opens another one")
    return f"[[{role}]]\n{text}"

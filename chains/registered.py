"""The template of a chain by what settings call it: a file, or a prompt of the registry."""

import logging
from dataclasses import dataclass, field
from time import monotonic

from chains.errors import SettingsError, StoreError, TemplateError
from chains.prompt_registry import PromptRegistry, is_version
from chains.templates import Template, load_template, released_versions
from chains.tracking import database_is_there

log = logging.getLogger("gristmill.prompts")

_SECONDS_BETWEEN_FAILURES = 60


def find_template(ref: str, tracking_uri: str) -> Template:
    """Load what `chain.template` names: a file, or a prompt of the registry.

    A version is looked for in the files first; `NAME@ALIAS` is the registry's, and is resolved
    here, once. Raises TemplateError where there is no such template or it is malformed,
    SettingsError where the registry cannot be asked.
    """
    name, _, wanted = ref.partition("@")
    if ref.endswith(".md") or not wanted or wanted in released_versions(name):
        return load_template(ref)
    if is_version(wanted) and not database_is_there(tracking_uri):
        try:
            return load_template(ref)
        except TemplateError as error:
            raise TemplateError(f"{error}; no database at mlflow.tracking_uri") from None
    return find_registered(PromptRegistry(tracking_uri), name, wanted)


def find_registered(registry: PromptRegistry, name: str, wanted: str) -> Template:
    """Load a prompt of the registry by its version or alias; raises as `find_template` does."""
    if is_version(wanted):
        return registry.load(name, wanted)
    return registry.load_number(name, registry.number_of(name, wanted))


def follow_template(ref: str | None, tracking_uri: str) -> "FollowedTemplate | None":
    """Return the template that an alias names, to be looked at again; None for any other ref."""
    name, _, wanted = (ref or "").partition("@")
    if not wanted or name.endswith(".md") or wanted.endswith(".md") or is_version(wanted):
        return None
    return FollowedTemplate(PromptRegistry(tracking_uri), name, wanted)


@dataclass
class FollowedTemplate:
    """What an alias names now; the template is loaded only when that has changed."""

    registry: PromptRegistry
    name: str
    alias: str
    seconds_between_failures: float = _SECONDS_BETWEEN_FAILURES
    template: Template = field(init=False)
    _number: int = field(init=False)
    _not_before: float | None = None

    def __post_init__(self) -> None:
        self._load(self.registry.number_of(self.name, self.alias))

    def look(self) -> Template:
        """Return the template of now, by one question to the registry.

        A registry that cannot be asked leaves the template as it was: that is warned of once, and
        the registry is asked again after a minute. Raises TemplateError where the alias is gone or
        names what is no template.
        """
        if self._not_before is None or monotonic() >= self._not_before:
            try:
                self._look()
            except (SettingsError, StoreError) as error:
                if self._not_before is None:
                    log.warning("%s goes on as it is: %s", self.template.ref, error)
                self._not_before = monotonic() + self.seconds_between_failures
        return self.template

    def _look(self) -> None:
        number = self.registry.number_of(self.name, self.alias)
        if number != self._number:
            self._load(number)
        if self._not_before is not None:
            log.warning("the prompt registry answers again: %s", self.template.ref)
            self._not_before = None

    def _load(self, number: int) -> None:
        self.template, self._number = self.registry.load_number(self.name, number), number

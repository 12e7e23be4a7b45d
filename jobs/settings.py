"""Settings of a job: a YAML file, checked; command line over environment over file over default."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from chains.base import OnLongInput
from chains.errors import (
    AwaitingBatch,
    CapReached,
    ContentFiltered,
    ContextLengthExceeded,
    EmptyInput,
    Incomplete,
    InputTooLarge,
    InvalidRequest,
    LowConfidence,
    ModelCrashed,
    Pending,
    Refused,
    SettingsError,
    Undecodable,
    UnparsableAnswer,
    error_codes,
)
from chains.models.endpoint.settings import EndpointSettings, check_base_url, is_loopback
from chains.models.sidecar.settings import SidecarSettings
from chains.secrets import check_reference, without_credentials
from udfs.names import placed

ENVIRONMENT_PREFIX = "GRISTMILL_"
CACHE_VARIABLE = "GRISTMILL_CACHE"
# Kubernetes tells each pod of each service: one named gristmill... has variables with our prefix.
_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?$")
NEXT_MODEL_ON = tuple(
    it.code
    for it in (
        *(ContentFiltered, ContextLengthExceeded, Incomplete, InvalidRequest, LowConfidence),
        *(ModelCrashed, Refused, UnparsableAnswer),
    )
)
_NO_MODEL_HELPS = {
    it.code for it in (EmptyInput, Undecodable, InputTooLarge, Pending, CapReached, AwaitingBatch)
}
_MAY_GO_ON = set(error_codes()) - _NO_MODEL_HELPS - {"error", "transient"}
_MAY_HOLD_SECRETS = frozenset(
    {"endpoints", "conf", "options", "command", "arguments", "mlflow", "otel"}
)


class Section(BaseModel):
    """A part of the settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list | tuple) else [value]


OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class SourceSettings(Section):
    """The rows to complete; `columns` maps template variables to columns."""

    table: str
    key: OneOrMore = Field(min_length=1)
    columns: dict[str, str] = {}
    version: int | None = None
    duplicates: Literal["refuse", "last"] = "refuse"
    order_by: str | None = None


class TargetSettings(Section):
    """Where completions go; `keep` names source columns that go along."""

    table: str
    mode: Literal["append", "merge", "overwrite"] = "merge"
    keep: tuple[str, ...] = ()


class TokenPrice(Section):
    """Money for a million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


class PriceSettings(TokenPrice):
    """What a model costs, and in which money."""

    currency: str = "USD"


class BudgetSettings(Section):
    """The most that a run may spend; `max_cost` in the currency of the model's price."""

    max_tokens: int | None = Field(None, ge=0)
    max_cost: float | None = Field(None, ge=0, allow_inf_nan=False)


class ChainSettings(Section):
    """What to ask, and whom; what is not set here is as the chain (or the logged model) has it.

    Of several models, a row goes on to the next one where its error is among `next_model_on`.
    """

    name: str
    model: OneOrMore = Field(("extractive",), min_length=1)
    next_model_on: tuple[str, ...] = NEXT_MODEL_ON
    price: Annotated[tuple[PriceSettings, ...] | None, BeforeValidator(_listed)] = None
    template: str | None = None
    parameters: dict[str, Any] = {}
    on_long_input: OnLongInput | None = None
    max_input_chars: int | None = Field(None, ge=1)
    engine: Literal["process", "sidecar"] = "process"

    @field_validator("next_model_on")
    @classmethod
    def _codes_of_models(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(codes) - _MAY_GO_ON):
            raise ValueError(f"expected codes among {sorted(_MAY_GO_ON)}, not {unknown}")
        return codes


class LedgerSettings(Section):
    """Where answers are kept; with `reuse: false` every prompt is asked anew, and recorded."""

    table: str
    reuse: bool = True


class SparkSettings(Section):
    """The session, where none runs; `packages: false` where the platform ships Delta.

    `storage` names the object stores whose client the session gets besides. On a cluster a job
    waits `executor_seconds` for its first executor.
    """

    master: str = "local[*]"
    packages: bool = True
    storage: Annotated[tuple[Literal["s3"], ...], BeforeValidator(_listed)] = ()
    conf: dict[str, Any] = {}
    executor_seconds: float = Field(600, gt=0)


class MlflowSettings(Section):
    """The tracking and registry store; default: sqlite in the work folder.

    With an `experiment` each run of a job is logged there.
    """

    tracking_uri: str | None = None
    experiment: str | None = Field(None, min_length=1)


class OtelSettings(Section):
    """A collector of OpenTelemetry, by the base URL of its OTLP/HTTP; without one nothing is told.

    `headers` hold references to secrets. With `content` spans hold prompts and answers.
    """

    endpoint: Annotated[str, AfterValidator(check_base_url)] | None = None
    headers: dict[str, Annotated[str, AfterValidator(check_reference)]] = {}
    content: bool = False

    @model_validator(mode="after")
    def _headers_are_not_sent_in_the_clear(self) -> "OtelSettings":
        url = self.endpoint or ""
        if self.headers and not url.startswith("https:") and not is_loopback(url):
            message = "endpoint: expected https, or headers would cross the network in the clear"
            raise PydanticCustomError("endpoint", message)
        return self


def _same_for_all(table: str) -> str:
    """Return a name of a table in the way of writing that all its names share."""
    return placed(table) if "/" in table else table.replace("`", "").casefold()


class JobSettings(Section):
    """What the settings of all jobs share; docs/settings.md explains every key."""

    target: TargetSettings
    chain: ChainSettings
    ledger: LedgerSettings
    budget: BudgetSettings = BudgetSettings()
    prices: Path | None = None
    endpoints: dict[str, EndpointSettings] = {}
    sidecar: SidecarSettings = SidecarSettings()
    spark: SparkSettings = SparkSettings()
    mlflow: MlflowSettings = MlflowSettings()
    otel: OtelSettings = OtelSettings()
    on_error: Literal["record", "fail"] = "record"
    work_dir: Path = Path(".gristmill")

    @model_validator(mode="after")
    def _price_of_each_model(self) -> "JobSettings":
        models, prices = len(self.chain.model), self.chain.price or ()
        if prices and (len(prices) != models or len({it.currency for it in prices}) > 1):
            expected = f"expected a price for each of {models} models, in one currency"
            raise PydanticCustomError("price", f"chain.price: {expected}; found {len(prices)}")
        return self

    @model_validator(mode="after")
    def _tables_are_apart(self) -> "JobSettings":
        """Refuse a job that would write over its own source, or make of a ledger a target."""
        source = getattr(getattr(self, "source", None), "table", None)
        target = self.target.table.rstrip("/")
        tables = {"source.table": source, "target.table": target, "ledger.table": self.ledger.table}
        named: dict[str, str] = {_same_for_all(f"{target}_errors"): "target.table's dead letters"}
        for key, table in tables.items():
            if table is not None and (other := named.setdefault(_same_for_all(table), key)) != key:
                raise PydanticCustomError("table", f"{key}: expected a table apart from {other}")
        return self

    @property
    def tracking_uri(self) -> str:
        """The MLflow store: what is set, or sqlite in the work folder."""
        return store_of(self.mlflow, self.work_dir)


class Settings(JobSettings):
    """All that a job over a table reads from its file."""

    source: SourceSettings

    @property
    def kept(self) -> tuple[str, ...]:
        """Source columns that go to the target beside the key, which goes there anyway."""
        return tuple(it for it in self.target.keep if it not in self.source.key)


def store_of(mlflow: MlflowSettings, work_dir: Path) -> str:
    """Return the MLflow store: what is set, or sqlite in the work folder."""
    return mlflow.tracking_uri or f"sqlite:///{work_dir.absolute() / 'mlflow.db'}"


_Settings = TypeVar("_Settings", bound=Section)


def load_settings(path: Path, assignments: Sequence[str] = ()) -> Settings:
    """Read the file of a job over a table; see `load_settings_of`."""
    return load_settings_of(Settings, path, assignments)


def load_settings_of(
    kind: type[_Settings], path: Path, assignments: Sequence[str] = ()
) -> _Settings:
    """Read a job's file; lay the environment over it, and `KEY=VALUE` assignments over both.

    Keys are dotted, values are YAML. In the environment `GRISTMILL_SOURCE__TABLE` is
    `source.table`. Raises SettingsError that names the file and every wrong key.
    """
    return read_section(kind, path, [*_environment(), *assignments])


def read_section(kind: type[_Settings], path: Path, assignments: Sequence[str] = ()) -> _Settings:
    """Read a file, with assignments over it; the environment changes nothing."""
    given = _read(path)
    for assignment in assignments:
        _assign(given, assignment)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(_told(path, it) for it in error.errors())) from None


def of_stream(path: Path) -> bool:
    """Whether a file is a stream's: it alone has a checkpoint."""
    return "checkpoint" in _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter for a day that is none
        raise SettingsError(f"{path}: not YAML: {error}") from None
    if not isinstance(given, dict):
        raise SettingsError(f"{path}: expected keys and values, found {type(given).__name__}")
    return given


def in_environment(place: Sequence[str | int]) -> str:
    """Return what to add to a message about a key: the variables that set it, or what is in it.

    Positions in a list, which no variable has, count for nothing.
    """
    key = "__".join(str(it).upper() for it in place if not isinstance(it, int))
    names = [it for it in _variables() if f"{it}__".startswith(f"{ENVIRONMENT_PREFIX}{key}__")]
    return f"; the environment has {', '.join(names)}" if names else ""


def _variables() -> list[str]:
    names = sorted(it for it in os.environ if it.startswith(ENVIRONMENT_PREFIX))
    return [it for it in names if it != CACHE_VARIABLE and not _OF_A_SERVICE.search(it)]


def _environment() -> list[str]:
    keys = {
        name: name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        for name in _variables()
    }
    if nameless := [name for name, key in keys.items() if not key or key.endswith(".")]:
        expected = f"expected {ENVIRONMENT_PREFIX}SECTION__KEY"
        raise SettingsError(f"the environment has {nameless[0]}: {expected}")
    return [f"{key}={os.environ[name]}" for name, key in keys.items()]


def _assign(settings: dict[str, Any], assignment: str) -> None:
    key, equals, value = assignment.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise SettingsError(f"--set {assignment!r}: expected KEY=VALUE")
    for section in sections:
        if not isinstance(settings.get(section), dict):
            settings[section] = {}
        settings = settings[section]
    try:
        settings[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        settings[last] = value


def _told(path: Path, error: Mapping[str, Any]) -> str:
    """Name file, key and what was found, where that is no secret."""
    if not error["loc"]:  # what several keys together have wrong: all of them would be found
        return f"{path}: {error['msg']}"
    where = ".".join(map(str, error["loc"]))
    said = {"extra_forbidden": "unknown key", "missing": "missing key"}
    told = said.get(error["type"], f"{error['msg']}{_found(error)}")
    return f"{path}: {where}: {told}{in_environment(error['loc'])}"


def _found(error: Mapping[str, Any]) -> str:
    """Return what a wrong key has, but nothing of what may hold a secret, at any depth."""
    given = error["input"]
    if isinstance(given, dict | list) or not _MAY_HOLD_SECRETS.isdisjoint(error["loc"]):
        return ""
    return f" (found {without_credentials(repr(given)):.80})"

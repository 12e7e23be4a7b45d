"""One row asked again with exactly what it was asked with, beside what was answered then."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from chains.completion import Question, result_text
from chains.errors import CompletionError, JobError, TableError
from chains.templates import as_text
from jobs.pinning import pin_work
from jobs.settings import Settings
from jobs.source import open_source
from jobs.targets import Target, has_key
from udfs.delta import Table
from udfs.ledger import Ledger, newest
from udfs.work import Work


@dataclass(frozen=True)
class Answer:
    """What a row got: a result, or an error's code and message."""

    result: str | None
    error: str | None
    model: str
    completed_at: str


@dataclass(frozen=True)
class RowReplay:
    """A row's prompt, what the ledger has for it (None: nothing any more), and what comes now."""

    source: str
    template: str
    prompt: str
    then: Answer | None
    now: Answer
    tokens: Mapping[str, int]

    @property
    def is_same(self) -> bool:
        """Whether the answers are equal to the character."""
        then = self.then
        return then is not None and (then.result, then.error) == (self.now.result, self.now.error)

    def json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self) | {"same": self.is_same})


def run_replay_row(spark: SparkSession, settings: Settings, key: Mapping[str, str]) -> RowReplay:
    """Ask the model once for the row that `key` names, and write nothing.

    Source version and template are those that the row of the target (or of the dead letters)
    names. Raises TableError where there is no such row, and JobError, before anything is paid,
    where the question is not the same any more.
    """
    row = _row(spark, settings, key)
    work, version = _as_then(settings, row)
    pinned = settings.model_copy(
        update={"source": settings.source.model_copy(update={"version": version})}
    )
    source = open_source(spark, pinned, work.chain)
    variables = _variables(source.rows.where(has_key(key)), work, source.ref)
    chain, model = work.pinned.load()
    asked = chain.ask(variables, model)
    if isinstance(asked, CompletionError):
        raise JobError(f"row {dict(key)}: it cannot be asked any more: {asked.told}")
    if isinstance(asked, Question) and asked.fingerprint != row["fingerprint"]:
        raise JobError(
            f"row {dict(key)}: its question was another one: model {row['model']}, template "
            f"{row['template']}; now {work.pinned.model.name}, {chain.template.ref}, or parameters "
            "or schema have changed since. Set them as they were; nothing was asked"
        )
    done = chain.complete([variables], model)[0]
    said = f"{done.error.code}: {done.error.message}" if done.error else None
    result = None if done.result is None else result_text(done.result)
    return RowReplay(
        source.ref,
        chain.template.ref,
        as_text(chain.template.render(variables)),
        _then(spark, settings, row["fingerprint"]),
        Answer(result, said, done.model, str(done.completed_at)),
        {"input": done.input_tokens or 0, "output": done.output_tokens or 0},
    )


def _row(spark: SparkSession, settings: Settings, key: Mapping[str, str]) -> Row:
    if set(key) != set(settings.source.key):
        raise TableError(f"--key: expected the columns {list(settings.source.key)}, found {[*key]}")
    target = Target.of(settings.target, settings.source.key)
    for table in (target.table, target.errors):
        rows = table.read(spark).where(has_key(key)) if table.exists(spark) else None
        found = None if rows is None else rows.where("fingerprint is not null").first()
        if found is not None:
            return found
    raise TableError(f"table {target.table.name!r}: no row {dict(key)} that was asked")


def _as_then(settings: Settings, row: Row) -> tuple[Work, int]:
    """Return the work with the template and the model of then, and the version of the source."""
    work = pin_work(settings)
    if work.chain.template.ref != row["template"]:
        chain = settings.chain.model_copy(update={"template": row["template"]})
        work = pin_work(settings.model_copy(update={"chain": chain}))
    asked = next((it for it in work.in_turn() if it.pinned.model.name == row["model"]), work)
    return asked, int(row["source"].rpartition("@")[2])


def _variables(rows: DataFrame, work: Work, source: str) -> Mapping[str, object]:
    """Return a row's variables as a run gets them: by Arrow, which gives other times and maps."""
    found = work.prepare(rows).select(work.variables().alias("variables")).limit(1).toArrow()
    if not found:
        raise TableError(f"table {source}: the row is not there any more")
    variables: Mapping[str, object] = found["variables"][0].as_py()
    return variables


def _then(spark: SparkSession, settings: Settings, fingerprint: str) -> Answer | None:
    rows = Ledger(Table.named(settings.ledger.table)).rows(spark)
    if rows is None:
        return None
    found = newest(rows.where(F.col("fingerprint") == fingerprint)).first()
    if found is None:
        return None
    error = found["error"]
    said = f"{error['code']}: {error['message']}" if error else None
    return Answer(found["result"], said, found["model"], str(found["completed_at"]))

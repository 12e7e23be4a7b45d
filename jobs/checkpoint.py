"""The checkpoint of a stream: whose it is, and whether it can be gone on from.

A target's history tells which micro-batches it has, by their numbers, and one that it has is not
written again. So a checkpoint whose numbers begin again must be another writer: each new one has
its `generation`, kept in a file beside Spark's own. Of two streams that go on from one checkpoint
each would answer and write the same micro-batches: there is a lease for one at a time.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import JobError
from jobs.failures import told
from jobs.stream_settings import StreamSettings
from udfs.claims import Claims
from udfs.delta import Table
from udfs.files import Place
from udfs.lease import LEASE, Lease, dead
from udfs.slices import Slice, nothing

FILE = "gristmill.json"
STREAMS = "gristmill_streams"
GENERATION = "gristmill_stream"
NOTHING = nothing(-1)
_NEWEST_COMMITS = 1000


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder and generation.

    `beside_others`: the target had rows before this generation began, so a row whose key is there
    is left out. `written` is what the target has newest, by its history up to `version`: a
    micro-batch, or a slice of one. `half_written` is the micro-batch that has dead letters which
    the target's commit did not follow; it comes again.
    """

    path: str
    generation: str
    beside_others: bool
    written: Slice
    version: int
    half_written: int | None


@contextmanager
def open_checkpoint(spark: SparkSession, settings: StreamSettings) -> Iterator[Checkpoint]:
    """Hold the checkpoint while the block runs, a new one where the folder is empty.

    Raises JobError where going on from it would lose rows, or double them; so it would while
    another stream holds it.
    """
    folder = _folder(spark, settings)
    if FILE not in folder.names():
        _begin(folder, look_at_checkpoint(spark, settings), settings)
    with _held(folder):
        yield look_at_checkpoint(spark, settings)


def look_at_checkpoint(spark: SparkSession, settings: StreamSettings) -> Checkpoint:
    """Return the checkpoint as `open_checkpoint` would, and write nothing."""
    folder = _folder(spark, settings)
    Table.named(settings.target.table).check_home(spark)
    names = folder.names()
    if FILE in names:
        return _earlier(folder, settings)
    if names:
        raise JobError(
            f"checkpoint {folder.path}: it has files, but no {FILE}, so no gristmill stream made "
            "it. Choose an empty folder"
        )
    return _new(folder, settings)


def _folder(spark: SparkSession, settings: StreamSettings) -> Place:
    if "/" not in settings.checkpoint:
        raise JobError(f"checkpoint: expected a path, found {settings.checkpoint!r}")
    return Place(spark, Table.named(settings.checkpoint).name)


def _begin(folder: Place, checkpoint: Checkpoint, settings: StreamSettings) -> None:
    content = {
        "generation": checkpoint.generation,
        "beside_others": checkpoint.beside_others,
        "job": _job(settings),
    }
    try:
        (folder / FILE).write(json.dumps(content).encode())
    except FileExistsError:
        raise JobError(
            f"checkpoint {folder.path}: another stream has begun here just now. Stop one of them"
        ) from None


@contextmanager
def _held(folder: Place) -> Iterator[None]:
    """Tell that a stream goes on from here while the block runs; raise JobError where one does."""
    streams, me = folder / STREAMS, uuid4().hex
    try:
        with ExitStack() as held:
            try:
                held.enter_context(Lease(streams / me / LEASE))
                before = Claims(streams).make(me, "stream", None)
            except (Py4JJavaError, OSError) as error:
                raise JobError(
                    f"checkpoint {folder.path}: cannot be written: {told(error)}"
                ) from error
            others = {*before, *streams.names()} - {me}
            ended = dead({it: streams / it / LEASE for it in others})
            if living := set(before) - ended:
                raise JobError(
                    f"checkpoint {folder.path}: another stream goes on from it; its machine and "
                    f"process stand in {(streams / living.pop() / LEASE).path}. Both would write "
                    "the same rows. Stop that one, or let it end; then start this one again"
                )
            for it in ended:
                (streams / it).delete()
            yield
    finally:
        (streams / me).delete()


def _new(folder: Place, settings: StreamSettings) -> Checkpoint:
    target = Table.named(settings.target.table)
    beside_others = target.exists(folder.spark) and not target.read(folder.spark).isEmpty()
    if beside_others and settings.on_new_checkpoint == "refuse":
        raise JobError(
            f"checkpoint {folder.path}: it is new, but target {target.name} has rows: the stream "
            "would begin at source.kafka.starting again. Restore the checkpoint, choose another "
            "target, or set on_new_checkpoint: continue to leave out rows whose key is there"
        )
    return Checkpoint(folder.path, uuid4().hex, beside_others, NOTHING, -1, None)


def _earlier(folder: Place, settings: StreamSettings) -> Checkpoint:
    try:
        content = json.loads((folder / FILE).read())
        generation, beside_others = content["generation"], content["beside_others"]
        job = content["job"]
    except (ValueError, KeyError, TypeError):
        raise JobError(f"checkpoint {folder.path}: {FILE} is damaged; restore it") from None
    if job != _job(settings):
        raise JobError(
            f"checkpoint {folder.path}: it belongs to another stream, {job}, not to "
            f"{_job(settings)}. Choose another folder"
        )
    target = Table.named(settings.target.table)
    version = target.version(folder.spark)
    written = last_written(folder.spark, target, generation)
    _check_age(folder, written, target)
    letters = last_written(folder.spark, target.beside("_errors"), generation)
    half_written = letters.batch if letters.number > written.number else None
    return Checkpoint(folder.path, generation, beside_others, written, version, half_written)


def _check_age(folder: Place, written: Slice, target: Table) -> None:
    """Refuse an older copy: its next micro-batches would be skipped, and they have other rows."""
    planned = [int(name) for name in (folder / "offsets").names() if name.isdigit()]
    if written.batch > max(planned, default=-1):
        raise JobError(
            f"checkpoint {folder.path}: it is older than target {target.name}, which has "
            f"micro-batch {written.batch}; the newest here is {max(planned, default='none')}. "
            "Restore the newer one; or begin a new one with on_new_checkpoint: continue"
        )


def last_written(spark: SparkSession, target: Table, generation: str) -> Slice:
    """Return the newest that a target has of a generation, NOTHING where it has none."""
    if not target.exists(spark):
        return NOTHING
    found = _newest(target.history(spark, _NEWEST_COMMITS), generation)
    if found is None and target.version(spark) >= _NEWEST_COMMITS:
        found = _newest(target.history(spark), generation)
    return found or NOTHING


def _newest(history: DataFrame, generation: str) -> Slice | None:
    mine = history.where(F.get_json_object("userMetadata", f"$.{GENERATION}") == generation)
    found = mine.orderBy(F.desc("version")).select("userMetadata").first()
    return None if found is None else Slice.read(json.loads(found["userMetadata"]))


def _job(settings: StreamSettings) -> dict[str, str]:
    return {"source": settings.source.name, "target": Table.named(settings.target.table).name}

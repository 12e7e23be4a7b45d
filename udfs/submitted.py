"""The misses of a pass in batches at a provider: found, submitted, waited for, fetched, settled."""

import logging
import math
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from time import time
from uuid import uuid4

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.errors import CompletionError, JobError
from chains.models.endpoint.batch_format import ProviderBatch
from chains.models.endpoint.provider_batches import ProviderBatches, wait
from udfs.arrow import Pinned
from udfs.files import Place
from udfs.progress import Progress
from udfs.storage import Folder
from udfs.submitting import (
    ASKED_IN,
    SAID,
    SUBMITTED,
    Fetching,
    Submitting,
    batch_names,
    endpoint_settings,
    write_asked_in,
)

LOG = logging.getLogger("gristmill")
KEPT_BY_PROVIDERS = timedelta(days=30)


class Submitted:
    """What a pass asks through a provider's batch API.

    `folder` keeps which fingerprints are in which batch, for every run that shares the ledger.
    """

    def __init__(self, spark: SparkSession, pinned: Pinned, folder: str) -> None:
        self._spark, self._pinned, self._folder = spark, pinned, folder
        self._settings = endpoint_settings(pinned)
        self._settled: dict[str, list[str]] = {}

    def answers(
        self, asked: DataFrame, misses: DataFrame, prompts: int, progress: Progress | None
    ) -> DataFrame:
        """Return what batches that have ended say, a row for each fingerprint in them.

        `asked` has a fingerprint for each of `prompts` misses; `misses` has their variables too.
        1. Find the batches of earlier runs: what is in them is not submitted again. 2. Submit the
        rest. 3. Wait, on the driver alone. 4. Fetch, on the executors.
        """
        wanted, before = self._before(asked)
        held = self._asked_in([it.name for it in before])
        new = misses.join(held, "fingerprint", "left_anti")
        batches = before + self._submit(new, math.ceil(prompts / self._settings.batch_requests))
        LOG.info(
            "%d prompts are in %d batches at the provider, %d of them submitted now; "
            "a run that is stopped here is gone on with by the next one",
            prompts,
            len(batches),
            len(batches) - len(before),
        )
        batches = wait(self._settings, batches, progress.add if progress else lambda done: None)
        ended = [it for it in batches if it.has_ended]
        never_there = wanted - {it.name for it in before}
        self._settled = self._without(asked, never_there | {it.name for it in ended})
        return self._fetched(ended).dropDuplicates(["fingerprint"])

    def settle(self) -> None:
        """Forget what was fetched: it is in the ledger, or the next run has to submit it again."""
        for name, others in self._settled.items():
            if others:
                write_asked_in(Folder(self._folder), name, others)
            else:
                (Place(self._spark, self._folder) / f"{name}.parquet").delete()

    def _before(self, asked: DataFrame) -> tuple[set[str], list[ProviderBatch]]:
        """Return the batches that should hold some of the prompts, by name, and those that do.

        A run killed between the file of a batch and the batch itself leaves a name that the
        provider does not know.
        """
        held = self._asked_in(self._names()).join(asked, "fingerprint", "left_semi")
        wanted = {row["batch"] for row in held.select("batch").distinct().collect()}
        if not wanted:
            return wanted, []
        try:
            with ProviderBatches(self._settings) as provider:
                return wanted, provider.find(wanted)
        except CompletionError as error:
            raise JobError(
                f"{self._pinned.model.spec}: the provider did not tell which of {len(wanted)} "
                f"batches it has, so that nothing was submitted: {error.told}"
            ) from None

    def _names(self) -> list[str]:
        """Return the batches of the folder; older ones than any provider keeps are forgotten."""
        place = Place(self._spark, self._folder)
        oldest = time() - KEPT_BY_PROVIDERS.total_seconds()
        names = batch_names(place.names())
        old = {it for it in names if ((place / f"{it}.parquet").changed_at() or oldest) < oldest}
        for name in old:
            (place / f"{name}.parquet").delete()
        return [it for it in names if it not in old]

    def _asked_in(self, batches: Collection[str]) -> DataFrame:
        if not batches:
            return self._spark.createDataFrame([], ASKED_IN)
        paths = [f"{self._folder}/{it}.parquet" for it in batches]
        return self._spark.read.schema(ASKED_IN).parquet(*paths)

    def _submit(self, misses: DataFrame, tasks: int) -> list[ProviderBatch]:
        submitting = Submitting(self._pinned, self._folder, uuid4().hex)

        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return submitting(batches)

        # By fingerprint, so that a task which is tried again has the same rows.
        submitted = misses.repartition(tasks, "fingerprint").mapInArrow(run, SUBMITTED)
        return [ProviderBatch.of_json(row["submitted"]) for row in submitted.collect()]

    def _fetched(self, ended: Sequence[ProviderBatch]) -> DataFrame:
        fetching = Fetching(self._pinned, self._folder)

        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return fetching(batches)

        numbered = [(i, it.json()) for i, it in enumerate(ended)]
        batches = self._spark.createDataFrame(numbered, f"number int, {SUBMITTED}")
        a_task_each = batches.repartitionById(max(1, len(ended)), F.col("number"))
        return a_task_each.select("submitted").mapInArrow(run, SAID)

    def _without(self, asked: DataFrame, batches: set[str]) -> dict[str, list[str]]:
        """Return which fingerprints of batches were not asked by this pass, but by other runs."""
        left = self._asked_in(batches).join(asked, "fingerprint", "left_anti")
        others = left.groupBy("batch").agg(F.collect_list("fingerprint").alias("others")).collect()
        return {it: [] for it in batches} | {row["batch"]: row["others"] for row in others}

"""The quota of a run: served by the driver, while the run asks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pyspark.sql import SparkSession

from chains.models.endpoint_settings import QuotaSettings
from jobs.settings import JobSettings
from jobs.spending import budget_of
from udfs.quota import served
from udfs.work import Work

Leased = Callable[[Work], Work]


@contextmanager
def leasing(spark: SparkSession, settings: JobSettings, work: Work) -> Iterator[Leased]:
    """Give what makes the model of some work lease its requests, until the block ends.

    Models that are not behind an endpoint, and a run without quota and budget, lease nothing.
    """
    limits = {name: it.quota for name, it in settings.endpoints.items()}
    quotas = {name: quota for name, quota in limits.items() if quota != QuotaSettings()}
    model = work.pinned.model
    budget = budget_of(settings, model)
    if model.kind != "endpoint" or not (quotas or budget.is_limited):
        yield lambda work: work
        return
    host = str(spark.conf.get("spark.driver.host"))
    bind = str(spark.conf.get("spark.driver.bindAddress", host))
    with served(quotas, budget, host=host, bind=bind) as address:

        def leased(work: Work) -> Work:
            model = replace(work.pinned.model, quota=address)
            return replace(work, pinned=replace(work.pinned, model=model))

        yield leased

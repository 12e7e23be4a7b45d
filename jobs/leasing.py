"""The quota of a run: served by the driver, while the run asks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pyspark.sql import SparkSession

from chains.models.base import QuotaAddress
from chains.models.endpoint.settings import QuotaSettings
from jobs.settings import JobSettings
from jobs.spending import budget_of
from udfs.arrow import Pinned
from udfs.quota import served
from udfs.work import Work

Leased = Callable[[Work], Work]


@contextmanager
def leasing(spark: SparkSession, settings: JobSettings, work: Work) -> Iterator[Leased]:
    """Give what makes the models of some work lease their requests, until the block ends.

    Models that are not behind an endpoint, and a run without quota and budget, lease nothing.
    """
    limits = {name: it.quota for name, it in settings.endpoints.items()}
    quotas = {name: quota for name, quota in limits.items() if quota != QuotaSettings()}
    budget = budget_of(settings, work.models)
    is_remote = any(it.kind == "endpoint" for it in work.models)
    if not is_remote or not (quotas or budget.is_limited):
        yield lambda work: work
        return
    host = str(spark.conf.get("spark.driver.host"))
    bind = str(spark.conf.get("spark.driver.bindAddress", host))
    prices = dict(zip((it.name for it in work.models), budget.prices, strict=True))
    with served(quotas, budget, prices, host=host, bind=bind) as address:
        yield lambda work: work.with_each(lambda it: _leasing(it, address))


def _leasing(pinned: Pinned, address: QuotaAddress) -> Pinned:
    if pinned.model.kind != "endpoint":
        return pinned
    return replace(pinned, model=replace(pinned.model, quota=address))

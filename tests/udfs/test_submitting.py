"""Requests on their way to a provider: in batches that it takes, each paid for once."""

import pytest

from chains.errors import BatchUnanswered
from chains.models.base import Answer
from chains.models.endpoint.batch_format import read_outcome
from chains.models.endpoint.provider_batches import ProviderBatches, wait
from chains.models.endpoint.settings import EndpointSettings
from chains.models.fake.batches import BatchSettings
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from udfs.storage import Folder
from udfs.submitting import Submission, asked_in, batch_names, said_in

QUICK = {"max_retry_wait_seconds": 0.01, "attempts": 2, "batch_poll_seconds": 0}


@pytest.fixture
def folder(tmp_path):
    return Folder(f"{tmp_path}/ledger/_batches")


@pytest.fixture
def at(endpoint):
    return lambda **more: EndpointSettings(base_url=endpoint.base_url, **QUICK, **more)


def submit(provider, settings, folder, keys, attempt=0):
    submission = Submission(provider, settings, folder, "run-00000", attempt)
    for key in keys:
        message = {"role": "user", "content": f"key={key} text"}
        submission.add(f"fingerprint of {key}", {"model": "m", "messages": [message]})
    return submission.close()


def paid(endpoint):
    return sorted(call.key for call in endpoint.calls())


def test_a_batch_holds_as_many_requests_as_the_provider_takes(at, endpoint, folder):
    settings = at(batch_requests=3)
    with ProviderBatches(settings) as provider:
        batches = submit(provider, settings, folder, "abcdefg")
    assert [len(asked_in(folder, it.name)) for it in batches] == [3, 3, 1]
    assert paid(endpoint) == list("abcdefg")


def test_a_batch_holds_as_many_bytes_as_the_provider_takes(at, endpoint, folder):
    """Even a request that alone has more is sent, for the provider to say so."""
    with ProviderBatches(at()) as provider:
        batches = submit(provider, at(batch_bytes=400), folder, ["a", "b" * 300, "c", "d"])
    assert [len(asked_in(folder, it.name)) for it in batches] == [1, 1, 2]
    assert len(endpoint.calls()) == 4


class Killed(ProviderBatches):
    """The batches of a process that is killed at its second submission: before it, or after."""

    submitted, after = 0, False

    def submit(self, name, requests):
        self.submitted += 1
        if self.submitted == 2 and not self.after:
            raise KeyboardInterrupt
        batch = super().submit(name, requests)
        if self.submitted == 2:
            raise KeyboardInterrupt
        return batch


@pytest.mark.parametrize("after", [False, True])
def test_a_killed_submission_is_gone_on_with(at, endpoint, folder, after):
    settings = at(batch_requests=2)
    with Killed(settings) as killed:
        killed.after = after
        with pytest.raises(KeyboardInterrupt):
            submit(killed, settings, folder, "abcdef")
    assert paid(endpoint) == list("abcd" if after else "ab")
    with ProviderBatches(settings) as provider:
        batches = submit(provider, settings, folder, "abcdef", attempt=1)
    assert paid(endpoint) == list("abcdef")
    assert sorted(key for it in batches for key in asked_in(folder, it.name)) == [
        f"fingerprint of {key}" for key in "abcdef"
    ]


def test_another_task_of_the_run_is_not_looked_at(at, endpoint, folder):
    with ProviderBatches(at()) as provider:
        submit(provider, at(), folder, "ab")
        Submission(provider, at(), folder, "run-00001", 0).close()
        assert Submission(provider, at(), folder, "run-00001", 1).close() == []
    assert len(batch_names(folder.names())) == 1


def test_every_fingerprint_of_an_ended_batch_has_an_outcome(folder):
    settings = FakeSettings(batches=BatchSettings(end="failed"))
    for fake, kind in [(FakeSettings(), Answer), (settings, BatchUnanswered)]:
        with FakeEndpoint(fake) as endpoint:
            settings = EndpointSettings(base_url=endpoint.base_url, **QUICK)
            with ProviderBatches(settings) as provider:
                batches = submit(provider, settings, folder, "abc")
                (ended,) = wait(settings, batches, lambda done: None)
                rows = [row for it in said_in(provider, folder, ended) for row in it.to_pylist()]
        assert [row["fingerprint"] for row in rows] == [f"fingerprint of {key}" for key in "abc"]
        assert {type(read_outcome(row["answer"])) for row in rows} == {kind}
        folder.delete(f"{ended.name}.parquet")

import pytest

from chains.errors import CredentialRejected
from chains.models.endpoint.rejection import SECONDS_BETWEEN_PROBES, Rejection


@pytest.fixture
def rejection(clock):
    """Return one whose next probe is due."""
    rejection = Rejection(clock)
    rejection.begin(CredentialRejected("403"))
    clock.now += SECONDS_BETWEEN_PROBES
    return rejection


def test_nothing_is_sent_until_a_probe_is_due(clock):
    rejection = Rejection(clock)
    assert (rejection.wait(), rejection.send()) == (0, False)
    rejection.begin(CredentialRejected("403"))
    clock.now += SECONDS_BETWEEN_PROBES - 1
    with pytest.raises(CredentialRejected, match="not asked, after: 403"):
        rejection.wait()
    clock.now += 1
    assert (rejection.wait(), rejection.send()) == (0, True)


def test_others_wait_for_the_end_of_the_probe(rejection):
    probe = rejection.send()
    assert rejection.wait() > 0
    rejection.begin(CredentialRejected("401"))
    rejection.end("rejected", probe)
    with pytest.raises(CredentialRejected, match="after: 401"):
        rejection.wait()


@pytest.mark.parametrize("signal", ["answered", "refused"])
def test_a_probe_that_is_taken_lifts_it(rejection, signal):
    rejection.end(signal, rejection.send())
    assert not rejection.stands
    assert (rejection.wait(), rejection.send()) == (0, False)


@pytest.mark.parametrize("signal", ["rejected", "failed", "nothing"])
def test_a_probe_that_proves_nothing_leaves_its_place_to_another(rejection, signal):
    rejection.end(signal, rejection.send())
    assert rejection.stands
    assert (rejection.wait(), rejection.send()) == (0, True)


def test_a_call_sent_before_proves_nothing(rejection):
    rejection.end("answered", probe=False)
    assert rejection.stands

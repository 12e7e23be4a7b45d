import pytest

from chains.errors import EndpointDown
from chains.models.endpoint.circuit import Circuit


@pytest.fixture
def circuit(clock):
    return Circuit(3, 2.0, clock)


def call(circuit, signal):
    assert circuit.wait() == 0
    circuit.end(signal, circuit.send())


def fail(circuit, times=3):
    for _ in range(times):
        call(circuit, "failed")


def test_failures_in_a_row_open_it(circuit):
    fail(circuit, 2)
    call(circuit, "refused")
    fail(circuit, 2)
    assert circuit.wait() == 0
    call(circuit, "failed")
    assert circuit.wait() == 0.5


def test_one_probe_goes_through_at_a_time(circuit, clock):
    fail(circuit)
    clock.now += 0.5
    assert circuit.wait() == 0
    probe = circuit.send()
    assert probe
    assert circuit.wait() > 0
    circuit.end("failed", probe)
    assert circuit.wait() == 1.0


@pytest.mark.parametrize("signal", ["answered", "refused", "rejected"])
def test_any_response_of_an_endpoint_that_works_closes_it(circuit, clock, signal):
    fail(circuit)
    clock.now += 0.5
    call(circuit, signal)
    fail(circuit, 2)
    assert circuit.wait() == 0


def test_rows_wait_no_longer_than_patience(circuit, clock):
    fail(circuit)
    for seconds in (0.5, 1.0):
        clock.now += seconds
        call(circuit, "failed")
    with pytest.raises(EndpointDown, match="after 5 failures in a row"):
        circuit.wait()
    clock.now += 2.0
    call(circuit, "failed")
    with pytest.raises(EndpointDown):
        circuit.wait()
    clock.now += 4.0
    call(circuit, "answered")
    assert circuit.wait() == 0


def test_an_outage_of_hours_is_probed_each_minute(clock):
    patient = Circuit(3, 86_400.0, clock)
    fail(patient)
    while clock.now < 8 * 3600:
        clock.now += patient.wait()
        call(patient, "failed")
    assert patient.wait() == 60.0


def test_a_probe_that_was_cancelled_leaves_its_place_to_another(circuit, clock):
    fail(circuit)
    clock.now += 0.5
    circuit.end("nothing", circuit.send())
    assert circuit.wait() == 0


def test_calls_sent_before_it_opened_are_no_probes(circuit, clock):
    early = circuit.send()
    fail(circuit)
    clock.now += 0.5
    circuit.send()
    circuit.end("failed", early)
    assert circuit.wait() > 0

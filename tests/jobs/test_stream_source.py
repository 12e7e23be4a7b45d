"""The source of a stream: brokers that do not answer are told at once."""

import socket

import pytest

from chains.errors import JobError
from jobs.stream_source import check_reachable


def test_a_broker_that_does_not_answer_is_told_with_its_setting():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
        check_reachable(f"no-such-host.invalid:9092, PLAINTEXT://127.0.0.1:{port}")
    with pytest.raises(JobError, match=rf"source\.kafka\.bootstrap '127\.0\.0\.1:{port}'.*look at"):
        check_reachable(f"127.0.0.1:{port}")


def test_an_address_that_is_none_is_left_to_kafka():
    check_reachable("here")

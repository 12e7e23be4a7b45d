import pickle
import traceback
from dataclasses import replace

import pytest
from pydantic import ValidationError

from chains.errors import SettingsError
from chains.models.base import QuotaAddress
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import EndpointSettings, resolve_endpoint

KEY = "sk-canary-1f9a77"
QUOTA = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")


def test_the_reference_names_the_question_and_not_the_way_to_it():
    settings = EndpointSettings(base_url="https://x.openai.azure.com/openai/v1", attempts=2)
    ref = resolve_endpoint("endpoint:azure/gpt-4o", "azure", "gpt-4o", settings)
    assert (ref.kind, ref.name, ref.location) == ("endpoint", "azure/gpt-4o", "gpt-4o")
    assert (ref.spec, ref.digest) == ("endpoint:azure/gpt-4o", "endpoint:azure/gpt-4o")
    assert list(ref.options) == sorted(settings.model_dump(exclude={"quota"}).items())
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert hash(ref) == hash(resolve_endpoint(ref.spec, "azure", "gpt-4o", settings.model_dump()))


def test_a_quota_changes_neither_question_nor_what_is_shown_of_the_model():
    """Its address is another one in every run; the token is nobody's business."""
    settings = {"base_url": "https://h/v1"}
    ref = resolve_endpoint("s", "n", "m", settings)
    capped = resolve_endpoint("s", "n", "m", {**settings, "quota": {"requests_per_minute": 3}})
    assert capped == ref
    leasing = replace(ref, quota=QuotaAddress("driver", 4040, KEY))
    assert (leasing.digest, leasing.name) == (ref.digest, ref.name)
    assert pickle.loads(pickle.dumps(leasing)).quota.token == KEY
    assert KEY not in repr(leasing)


def test_the_mode_is_no_part_of_the_question():
    digests = {
        resolve_endpoint("s", "x", "m", {"base_url": "https://h/v1", "mode": mode}).digest
        for mode in ("online", "batch")
    }
    assert len(digests) == 1


def test_the_defaults():
    assert EndpointSettings(base_url="http://localhost:8000/v1").model_dump() == {
        "kind": "compatible",
        "base_url": "http://localhost:8000/v1",
        "api_key": None,
        "token": None,
        "api_version": None,
        "mode": "online",
        "batch_wait_seconds": 86_400.0,
        "batch_poll_seconds": 60.0,
        "batch_requests": 50_000,
        "batch_bytes": 100_000_000,
        "timeout_seconds": 120.0,
        "attempts": 5,
        "concurrency": "auto",
        "max_concurrency": 256,
        "circuit_failures": 10,
        "max_retry_wait_seconds": 60.0,
        "stream": False,
        "context_window": None,
        "max_tokens_field": "max_tokens",
        "omit_parameters": (),
        "quota": dict.fromkeys(QUOTA),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "base_url: Field required"),
        ({"base_url": "https://h/v1", "apikey": KEY}, "apikey: Extra inputs are not permitted"),
        ({"base_url": "https://h/v1", "api_key": KEY}, "api_key: expected a reference"),
        ({"base_url": "https://h/v1", "attempts": 0}, "attempts: Input should be greater"),
        ({"base_url": "https://h/v1", "timeout_seconds": "nan"}, "timeout_seconds: Input"),
        ({"base_url": "https://h/v1", "concurrency": 0}, "concurrency: "),
        ({"base_url": "https://h/v1", "quota": {"rpm": 1}}, "quota: rpm: Extra inputs"),
        ({"base_url": "https://h/v1", "quota": {QUOTA[0]: 0}}, f"quota: {QUOTA[0]}: Input"),
        ({"base_url": "host/v1"}, r"base_url: expected http\(s\)://HOST"),
        ({"base_url": "https://h:abc/v1"}, r"base_url: expected http\(s\)://HOST"),
        ({"base_url": "https://h:70000/v1"}, r"base_url: expected http\(s\)://HOST"),
        ({"base_url": "https://10.0.0.999/v1"}, r"base_url: expected http\(s\)://HOST"),
        ({"base_url": f"https://h:{KEY}/v1"}, r"base_url: expected http\(s\)://HOST"),
        ({"base_url": f"https://me:{KEY}@h/v1"}, "base_url: expected no user, password"),
        ({"base_url": f"https://h/v1?api-key={KEY}"}, "base_url: expected no user, password"),
        ({"kind": "gemini", "base_url": "https://h/v1"}, "kind: Input should be 'compatible'"),
        ({"kind": ["azure"], "base_url": "https://h/v1"}, "kind: Input should be 'compatible'"),
        ({"kind": "azure", "base_url": "https://h/v1"}, "base_url: kind azure expects the path"),
        ({"kind": "azure", "base_url": "https://h/openai"}, "api_version: needed where"),
        ({"kind": "databricks", "base_url": "https://h"}, "base_url: kind databricks expects"),
        ({"base_url": "https://h/v1", "api_version": "1"}, "api_version: only with kind azure"),
        (
            {"kind": "databricks", "base_url": "https://h/serving-endpoints", "mode": "batch"},
            "mode: kind databricks has no batch API",
        ),
        ({"base_url": "https://h/v1", "api_key": "env:K", "token": "env:T"}, "token: expected"),
        ({"base_url": "http://h/v1", "token": "env:K"}, "base_url: expected https"),
        ({"base_url": "http://h/v1", "api_key": "env:K"}, "base_url: expected https"),
        ({"base_url": "http://10.0.0.1/v1", "api_key": "env:K"}, "base_url: expected https"),
    ],
)
def test_wrong_settings_are_named_and_a_secret_is_never_repeated(settings, message):
    with pytest.raises(SettingsError, match=f"^endpoint 'azure': {message}") as caught:
        resolve_endpoint("endpoint:azure/m", "azure", "m", settings)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_openai_needs_no_base_url():
    assert EndpointSettings(kind="openai").base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize("name", ["apikey", "api_key"])
def test_settings_made_directly_repeat_no_secret_either(name):
    with pytest.raises(ValidationError, match=name) as caught:
        EndpointSettings(**{"base_url": "https://h/v1", name: KEY})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_a_key_may_go_in_the_clear_to_this_machine(host):
    EndpointSettings(base_url=f"http://{host}:8000/v1", api_key="env:K")


def test_tokens_are_an_estimate_from_characters():
    ref = resolve_endpoint("s", "n", "m", {"base_url": "http://h/v1", "context_window": 4096})
    model = EndpointModel(ref)
    messages = [{"role": "system", "content": "12345"}, {"role": "user", "content": ""}]
    assert model.count_tokens(messages) == (2 + 4) + (0 + 4)
    assert model.context_window == 4096

import pytest
from pydantic import ValidationError

from chains.errors import SettingsError
from chains.models.base import ModelRef
from chains.models.sidecar.settings import KINDS, SidecarSettings, behind_sidecar

REF = ModelRef("path:/m", "transformers", "m@1", "/m", "digest", (("batch_tokens", 64),))


def test_the_engine_is_no_part_of_the_question():
    served = behind_sidecar(REF, SidecarSettings())
    assert (served.kind, served.name, served.digest) == ("sidecar", REF.name, REF.digest)
    hash(served)  # models are cached by their references
    assert SidecarSettings(**dict(served.options)) == SidecarSettings()


def test_only_models_of_transformers_are_served():
    with pytest.raises(SettingsError, match=r"sidecar serves path:.*'extractive'"):
        behind_sidecar(ModelRef("extractive", "extractive", "x", "x", "d"), SidecarSettings())


@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_known_servers_listen_on_loopback_and_take_more_arguments(kind):
    settings = SidecarSettings(kind=kind, arguments=["--max-model-len", 4096])
    assert settings.server_command[-2:] == ("--max-model-len", "4096")
    assert ("--host", "{host}") in zip(
        settings.server_command, settings.server_command[1:], strict=False
    )
    assert settings.probe_path == KINDS[kind].ready_path


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "command"},
        {"kind": "vllm", "command": ["serve", "{port}"]},
        {"kind": "command", "command": ["serve", "--port", "8000"]},
        {"ready_path": "health"},
        {"idle_second": 3},
    ],
)
def test_settings_that_start_no_server_are_refused(wrong):
    with pytest.raises(ValidationError):
        SidecarSettings(**wrong)

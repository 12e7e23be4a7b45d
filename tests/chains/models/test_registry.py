import pickle

import pytest

from chains.errors import ModelLoadError, SettingsError
from chains.models import registry
from chains.models.base import ModelRef

ENDPOINTS = {"local": {"base_url": "http://127.0.0.1:9/v1"}}


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Put a module `own_models` of the user's on the path."""
    (tmp_path / "own_models.py").write_text(
        "made = []\n"
        "class Plain:\n"
        "    def __init__(self, ref):\n"
        "        self.ref = ref\n"
        "        made.append(ref)\n"
        "class Versioned(Plain):\n"
        "    version = '7'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "gpt-4",
        "openai:gpt-4",
        "extractive:large",
        "Extractive",
        "endpoint:",
        "endpoint:local",
        "endpoint:local/",
        "endpoint:elsewhere/model",
    ],
)
def test_a_spec_of_no_known_form_is_refused_and_the_key_named(spec):
    with pytest.raises(SettingsError, match=r"^chain\.model: expected ") as caught:
        registry.resolve(spec, ENDPOINTS)
    assert str(caught.value).endswith(f"found {spec!r}")


def test_an_unknown_endpoint_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"settings' endpoints \['local'\]"):
        registry.resolve("endpoint:elsewhere/model", ENDPOINTS)


def test_every_kind_that_resolves_is_among_the_forms_that_errors_name():
    kinds = {form.strip().partition(":")[0] for form in registry.FORMS.split(",")}
    assert kinds == {*registry._RESOLVERS, "models"}


@pytest.mark.parametrize("kind", sorted(registry._LOADERS))
def test_every_kind_has_its_class(kind):
    assert callable(registry.import_object(registry._LOADERS[kind]))


@pytest.mark.usefixtures("own_module")
def test_a_model_of_the_users_own_is_known_by_its_path_and_version():
    ref = registry.resolve("python:own_models:Versioned")
    assert (ref.kind, ref.name) == ("python", "own_models:Versioned@7")
    assert ref.location == "own_models:Versioned"
    assert ref.digest != registry.resolve("python:own_models:Plain").digest
    assert registry.resolve("python:own_models:Plain").name == "own_models:Plain@0"


def test_a_reference_is_plain_data():
    for spec in ("endpoint:local/model", "extractive"):
        ref = registry.resolve(spec, ENDPOINTS)
        assert ref.spec == spec
        assert pickle.loads(pickle.dumps(ref)) == ref
        assert isinstance(hash(ref), int)


@pytest.mark.usefixtures("own_module")
def test_a_model_is_made_once_for_each_reference():
    import own_models

    plain = registry.resolve("python:own_models:Plain")
    again = registry.resolve("python:own_models:Plain")
    other = registry.resolve("python:own_models:Versioned")
    assert registry.load(plain) is registry.load(again)
    assert registry.load(other) is not registry.load(plain)
    assert own_models.made == [plain, other]
    assert type(registry.load(other)) is own_models.Versioned


@pytest.mark.parametrize("path", ["nothing:Model", "os:Model", "os", "", ":", ".relative:Model"])
def test_what_cannot_be_imported_is_named(path):
    with pytest.raises(ModelLoadError, match="cannot import") as caught:
        registry.resolve(f"python:{path}")
    assert repr(path) in str(caught.value)
    with pytest.raises(ModelLoadError):
        registry.load(ModelRef("spec", "python", "name", path, "digest"))

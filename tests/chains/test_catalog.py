import pytest

from chains import Chain, load_chain
from chains.errors import SettingsError


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Put a module `own_chains` of the user's on the path."""
    (tmp_path / "own_chains.py").write_text(
        "from dataclasses import replace\n"
        "from chains import load_chain\n"
        "def mine(): return replace(load_chain('summarize'), name='mine')\n"
        "def template(): return mine().template\n"
        "def of(name): return replace(mine(), name=name)\n"
        "MINE = mine()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_chain_is_named_as_its_file():
    chain = load_chain("summarize")
    assert isinstance(chain, Chain)
    assert (chain.ref, chain.template.name) == ("summarize@1", "summarize")


def test_a_chain_is_plain_data_and_back():
    chain = load_chain("summarize")
    assert Chain.from_spec(chain.spec()) == chain


@pytest.mark.usefixtures("own_module")
def test_a_chain_is_a_function_of_the_users_own():
    assert load_chain("own_chains:mine").name == "mine"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sumarize",
        "no chain",
        "../summarize",
        "base",
        "models",
        "nothing:chain",
        "os:chain",
        ":",
    ],
)
def test_an_unknown_chain_is_refused_and_the_key_named(name):
    with pytest.raises(SettingsError, match=r"^chain\.name: no chain") as caught:
        load_chain(name)
    assert repr(name) in str(caught.value)


@pytest.mark.usefixtures("own_module")
def test_a_function_that_returns_no_chain_is_refused():
    with pytest.raises(
        SettingsError, match=r"chain\.name: 'own_chains:template' returned Template"
    ):
        load_chain("own_chains:template")


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize("name", ["own_chains:of", "own_chains:MINE"])
def test_what_cannot_be_called_without_arguments_is_refused(name):
    with pytest.raises(SettingsError, match=rf"chain\.name: '{name}' is no function without"):
        load_chain(name)

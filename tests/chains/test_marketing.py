import contextlib

import pytest

from chains import Chain, load_chain
from chains.errors import UnparsableAnswer
from chains.marketing import Message
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import resolve_endpoint

EVENT = {
    "name": "Jürgen Weiß",
    "language": "de",
    "event": "cart_abandoned",
    "product": "wool blanket",
    "amount": 79.5,
}


@pytest.fixture
def model(endpoint):
    settings = {"base_url": endpoint.base_url}
    opened = EndpointModel(resolve_endpoint("endpoint:fake/m", "fake", "m", settings))
    with contextlib.closing(opened):
        yield opened


@pytest.fixture
def chain():
    return load_chain("marketing")


def test_the_prompt_states_the_facts_of_the_event(chain):
    system, user = chain.template.render(EVENT)
    assert system["role"] == "system"
    for fact in ("Jürgen Weiß", "de", "cart_abandoned", "wool blanket", "79.50"):
        assert f": {fact}" in user["content"]


def test_an_answer_is_a_message_in_one_of_the_languages(chain, model):
    (completion,) = chain.complete([EVENT], model)
    assert completion.error is None
    assert Message.model_validate(completion.result).language in ("en", "de", "fr", "es")


def test_a_whole_price_is_a_price_too(chain):
    assert "40.00" in chain.template.render({**EVENT, "amount": 40})[1]["content"]


@pytest.mark.parametrize("name", sorted(EVENT))
def test_an_event_without_a_fact_is_not_asked(chain, model, endpoint, name):
    (completion,) = chain.complete([{**EVENT, name: None}], model)
    assert completion.error.code == "empty_input"
    assert endpoint.calls() == []


@pytest.mark.parametrize(
    "text",
    [
        '{"subject": "s", "body": "b", "language": "it"}',
        '{"subject": "s", "body": "b"}',
        '{"subject": "s", "body": "b", "language": "de", "discount": 10}',
    ],
)
def test_what_is_no_message_is_no_answer(chain, text):
    with pytest.raises(UnparsableAnswer):
        chain.parser.parse(text)


def test_the_chain_is_plain_data_and_back(chain):
    assert Chain.from_spec(chain.spec()) == chain
    assert chain.parameters.max_output_tokens == 256

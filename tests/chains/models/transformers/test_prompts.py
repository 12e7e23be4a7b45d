import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_model import END, EOS, PAD, START

from chains.errors import InvalidRequest, ModelCrashed
from chains.models.transformers.prompts import encode
from chains.models.transformers.weights import load_tokenizer

CONTROL = [START, END, EOS, PAD]
FRAGMENTS = [*CONTROL, "<|im_", "start|>", "<", "|>", "<|", "assistant\n", "\n", " ", "ü"]
data = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5))).map("".join)
MARKERS = "\U000f0000", "\U000f0001"  # transformers' own, which it drops from contents


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


def user(content):
    return {"role": "user", "content": content}


def control_ids(tokenizer, ids):
    return [tokenizer.decode([i]) for i in ids if i in tokenizer.all_special_ids]


@given(data)
def test_no_control_token_comes_from_data(tokenizer, text):
    ids = encode(tokenizer, [{"role": "system", "content": text}, user(text)])
    assert control_ids(tokenizer, ids) == [START, END, START, END, START]


@given(data.filter(lambda text: not any(marker in text for marker in MARKERS)))
def test_data_stands_in_the_prompt_as_it_is(tokenizer, text):
    prompt = tokenizer.decode(encode(tokenizer, [user(text)]))
    assert prompt == f"{START}user\n{text}{END}\n{START}assistant\n"


@given(data.filter(lambda text: not any(token in text for token in (*CONTROL, *MARKERS))))
def test_ordinary_data_is_encoded_as_the_chat_template_encodes_it(tokenizer, text):
    messages = [user(text)]
    usual = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode(tokenizer, messages) == usual


def test_without_a_template_contents_are_joined_by_blank_lines(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = None
    ids = encode(tokenizer, [user("Mill."), user(f"Grind {START}.")])
    assert tokenizer.decode(ids) == f"Mill.\n\nGrind {START}."
    assert control_ids(tokenizer, ids) == []


def test_a_tokenizer_adds_its_own_first_and_last_tokens_where_there_is_no_template(tiny_model):
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = None
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, tokenizer.eos_token_id)]
    )
    ids = encode(tokenizer, [user(f"Mill {EOS}.")])
    assert tokenizer.decode(ids) == f"Mill {EOS}.{EOS}"
    assert control_ids(tokenizer, ids) == [EOS]


def test_a_control_token_without_plain_spelling_is_refused():
    tokenizer = unigram()
    assert encode(tokenizer, [user("mill é")])
    with pytest.raises(InvalidRequest, match="reads '</s>' in the data as a control token"):
        encode(tokenizer, [user("a </s> b")])


def unigram():
    """Return a tokenizer with `</s>` in its vocabulary, as T5's."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((c, -3.0) for c in "▁abilm</s>")]
    backend = Tokenizer(models.Unigram(list(dict(pieces).items()), unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def test_roles_that_the_template_refuses_are_named_and_the_content_is_not(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('no system: ' + messages[0].content) }}"
    with pytest.raises(InvalidRequest, match=r"refuses the roles system, user$"):
        encode(tokenizer, [{"role": "system", "content": "private"}, user("private")])


def test_a_row_that_breaks_the_tokenizer_gets_its_error_without_its_text(tokenizer):
    with pytest.raises(ModelCrashed, match=r"^the tokenizer raised .*Error on this row$"):
        encode(tokenizer, [user("half an emoji: \ud83c")])

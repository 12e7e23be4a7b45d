from hypothesis import given
from hypothesis import strategies as st

from chains.text import clean_text

any_code_point = st.characters(exclude_categories=())
surrogate = st.characters(categories=["Cs"])


@given(st.text())
def test_text_without_surrogates_is_left_alone(text):
    assert clean_text(text) == (text, False)


@given(st.text(st.one_of(any_code_point, surrogate)))
def test_cleaned_text_is_utf8_and_stays_so(text):
    cleaned, replaced = clean_text(text)
    cleaned.encode("utf-8")
    assert clean_text(cleaned) == (cleaned, False)
    assert replaced == (cleaned.count("\ufffd") > text.count("\ufffd"))


@given(st.text())
def test_a_proper_pair_becomes_its_character(text):
    units = text.encode("utf-16-le")
    as_pairs = "".join(
        chr(int.from_bytes(units[i : i + 2], "little")) for i in range(0, len(units), 2)
    )
    assert clean_text(as_pairs) == (text, False)


@given(st.text(), surrogate, st.text())
def test_a_lone_surrogate_is_replaced_where_it_stands(before, lone, after):
    assert clean_text(before + lone + after) == (before + "\ufffd" + after, True)


def test_two_halves_in_the_wrong_order_are_both_replaced():
    assert clean_text("a\ude00\ud83db") == ("a\ufffd\ufffdb", True)

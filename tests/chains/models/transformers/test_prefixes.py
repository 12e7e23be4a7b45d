from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from chains.models.transformers.prefixes import LEAST_SHARED, common, share

DOCUMENT = list(range(100))
HEAD = [7] * 40

parts = st.sampled_from([[1] * 40, [2] * 40, [3] * 90, [4], [5, 6]])
prompts = st.lists(st.lists(parts, min_size=1, max_size=4).map(lambda it: [*chain(*it)]))


def test_rows_over_a_document_are_a_group_behind_the_head_of_all():
    asked = [[*HEAD, *DOCUMENT, 500 + i] for i in range(3)] + [[*HEAD, 900, 901]]
    *group, alone = share(asked)
    assert {(it.head, it.shared, it.group) for it in group} == {(40, 140, group[0].group)}
    assert (alone.head, alone.shared) == (40, 40)
    assert alone.group != group[0].group


def test_rests_of_very_different_lengths_are_no_group():
    asked = [[*HEAD, 1], [*HEAD, *[2] * 500], [3]]
    assert [it.shared for it in share(asked)] == [0, 0, 0]


def test_of_equal_prompts_all_but_one_token_is_shared():
    assert [(it.head, it.shared) for it in share([DOCUMENT] * 3)] == [(99, 99)] * 3


@given(prompts)
def test_prompts_keep_their_order_and_share_what_they_say(asked):
    shared = share(asked)
    assert [it.ids for it in shared] == asked
    for a in shared:
        assert a.head <= a.shared
        assert a.shared == a.head or a.head + LEAST_SHARED - 1 <= a.shared < len(a.ids)
        for b in shared:
            least = a.shared if a.group == b.group else a.head
            assert common(a.ids, b.ids) >= least

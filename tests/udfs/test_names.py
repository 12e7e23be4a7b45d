"""Names of tables in a catalog: taken apart, and quoted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import TableError
from udfs.delta import Table
from udfs.names import parts, quoted

PART = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(PART, min_size=1, max_size=3))
def test_what_is_quoted_is_read_again(name):
    assert parts(quoted(*name)) == name


def test_a_part_in_backticks_may_have_dots_the_others_anything_else():
    assert parts("main.my fin-data.`a.b`") == ["main", "my fin-data", "a.b"]
    assert Table("main.`fin``x`.`a.b`").relation == "`main`.`fin``x`.`a.b`"


def test_the_table_beside_one_in_backticks_is_in_them_too():
    assert Table("main.`a.b`").beside("_errors").relation == "`main`.`a.b_errors`"
    assert Table("main.a").beside("_errors").name == "main.a_errors"


@pytest.mark.parametrize("name", ["", "a.", ".a", "a..b", "a.b.c.d", "`a", "a`b", "`a`b", "``"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(TableError, match=r"catalog\.schema\.table"):
        parts(name)

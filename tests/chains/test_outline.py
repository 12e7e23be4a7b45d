from chains.outline import Outline, outline
from chains.templates import load_template, parse_template


def test_variables_are_in_the_order_of_the_prompt_and_the_head_ends_at_the_first():
    body = "[[system]]\nBe brief.\n[[user]]\nOn {{ b }}: {% if a %}{{ a }} {{ b }}{% endif %}äh"
    front = "name: t\nversion: '1'\ndescription: d\nvariables: {a: any, b: any}"
    found = outline(parse_template(f"---\n{front}\n---\n{body}", where="t.md"))
    head = len("Be brief.On ")
    assert found == Outline(head, head + len(":  äh".encode()), ("b", "a"))


def test_few_shot_examples_are_all_head():
    found = outline(load_template("summarize_few_shot@1"))
    assert found.head == found.fixed > 1000

"""A chain of a line or two."""

from chains import Chain
from chains.templates import parse_template


def chain_of(body, variables, **fields):
    """Return a chain of a template's text; `variables` is their YAML."""
    text = f"---\nname: t\nversion: '1'\ndescription: d\nvariables: {variables}\n---\n{body}"
    return Chain("t", "1", parse_template(text, "test"), **fields)

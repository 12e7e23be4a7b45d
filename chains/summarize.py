"""Summarize one document; one longer than the model's window by its parts."""

from chains.base import Chain
from chains.models.base import Parameters
from chains.templates import load_template


def chain() -> Chain:
    """Return the summarize chain: variable `document` in, plain text out."""
    return Chain(
        name="summarize",
        version="1",
        template=load_template("summarize@1"),
        parameters=Parameters(max_output_tokens=256),
        on_long_input="chunk",
        long_variable="document",
    )

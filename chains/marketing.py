"""Write a customer a short marketing message about one event, in the customer's language."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from chains.base import Chain
from chains.models.base import Parameters
from chains.parsers import JsonParser
from chains.templates import load_template


class Message(BaseModel):
    """A marketing message in plain text."""

    # All of this class, its docstring too, is in the schema and so in every fingerprint.

    model_config = ConfigDict(extra="forbid")

    subject: str
    body: str
    language: Literal["en", "de", "fr", "es"]


def chain() -> Chain:
    """Return the marketing chain: an event's variables in, a `Message` as plain data out."""
    return Chain(
        name="marketing",
        version="1",
        template=load_template("marketing@1"),
        parser=JsonParser.of(Message),
        parameters=Parameters(max_output_tokens=256),
    )

"""What to ask, and how to read the answer. Knows no Spark."""

from chains.base import Chain, ChainSpec
from chains.catalog import load_chain
from chains.completion import Completion, RowError
from chains.models.base import Answer, Message, Model, ModelRef, Parameters, Request, Usage
from chains.models.registry import load as load_model
from chains.models.registry import resolve as resolve_model
from chains.parsers import JsonParser, TextParser
from chains.templates import Template, load_template

__all__ = [
    "Answer",
    "Chain",
    "ChainSpec",
    "Completion",
    "JsonParser",
    "Message",
    "Model",
    "ModelRef",
    "Parameters",
    "Request",
    "RowError",
    "Template",
    "TextParser",
    "Usage",
    "load_chain",
    "load_model",
    "load_template",
    "resolve_model",
]

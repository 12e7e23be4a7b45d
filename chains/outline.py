"""In what order a template brings its text and its variables: with what its prompts begin."""

from dataclasses import dataclass

from jinja2 import nodes

from chains.templates import ENVIRONMENT, Template


@dataclass(frozen=True)
class Outline:
    """`head` is the bytes of text before the first variable, `fixed` those of all its text.

    `variables` are in the order in which a prompt brings them first.
    """

    head: int
    fixed: int
    variables: tuple[str, ...]


def outline(template: Template) -> Outline:
    """Return a template's outline; text that Jinja repeats or leaves out counts once."""
    head = fixed = 0
    variables: dict[str, None] = {}
    for _, body in template.bodies:
        for node in ENVIRONMENT.parse(body).find_all((nodes.TemplateData, nodes.Name)):
            if isinstance(node, nodes.TemplateData):
                size = len(node.data.encode())
                fixed += size
                head += 0 if variables else size
            elif isinstance(node, nodes.Name) and node.name in template.variables:
                variables[node.name] = None
    return Outline(head, fixed, tuple(variables))

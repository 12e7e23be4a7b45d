"""Commands that die, or lose an answer, when a step is reached."""

_SCRIPT = """
import os, signal, sys
from jobs import cli
{imports}

def disturbed(owner, name):
    honest = getattr(owner, name)
    def method(*args, **kwargs):
{what}
    setattr(owner, name, method)

step, arguments = sys.argv[1], sys.argv[2:]
owners = {owners}
name, _, when = step.partition("-")
disturbed(*owners[name])
sys.exit(cli.main(arguments))
"""
_DIES = """
        if when == "before" and {due}:
            os.killpg(0, signal.SIGKILL)
        found = honest(*args, **kwargs)
        if when == "after" and {due}:
            os.killpg(0, signal.SIGKILL)
        return found
"""
_FORGETS = """
        found = honest(*args, **kwargs)
        if {due}:
            raise OSError("the storage took it, and its answer was lost")
        return found
"""


def killed_at(imports, steps, due="True"):
    """Return a program that kills itself, its JVM and its workers at a step.

    `steps` are dotted names of methods. The program's first argument is `STEP-before` or
    `STEP-after`, the others are those of the command. It goes on where a step is not `due`.
    """
    return _program(imports, steps, _DIES.format(due=due))


def lost_answer(imports, steps, due="True"):
    """Return a program in which a step is done, and fails after it; it is the first argument."""
    return _program(imports, steps, _FORGETS.format(due=due))


def _program(imports, steps, what):
    split = {step: method.rpartition(".") for step, method in steps.items()}
    owners = ", ".join(f"{step!r}: ({owner}, {name!r})" for step, (owner, _, name) in split.items())
    return _SCRIPT.format(imports=imports, owners=f"{{{owners}}}", what=what)

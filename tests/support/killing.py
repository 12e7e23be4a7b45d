"""A command that kills itself, its JVM and its workers when a step is reached."""

_SCRIPT = """
import os, signal, sys
from jobs import cli
{imports}

def dies(owner, name, after):
    honest = getattr(owner, name)
    def killing(*args, **kwargs):
        if not after:
            os.killpg(0, signal.SIGKILL)
        honest(*args, **kwargs)
        os.killpg(0, signal.SIGKILL)
    setattr(owner, name, killing)

step, arguments = sys.argv[1], sys.argv[2:]
owners = {owners}
name, _, when = step.partition("-")
dies(*owners[name], after=when == "after")
cli.main(arguments)
"""


def killed_at(imports, owners):
    """Return the program; `owners` is the source of a dict from a step to (class, method).

    Its first argument is `STEP-before` or `STEP-after`, the others are those of the command.
    """
    return _SCRIPT.format(imports=imports, owners=owners)

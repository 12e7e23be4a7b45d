"""What spark-submit runs: any command of gristmill, `spark-submit ... submit.py batch --conf ...`.

The packages come from --py-files or from the environment; see docs/submitting.md.
"""

import sys

from jobs.entry_points import run

if __name__ == "__main__":
    run(sys.argv[1] if sys.argv[1:] else "--help", sys.argv[2:])

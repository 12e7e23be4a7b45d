"""PySpark's daemon, whose workers are watched; see `DAEMON`."""

from pyspark import daemon

from bench.watching import time_journals, watch_models

if __name__ == "__main__":
    time_journals()
    watch_models()
    daemon.manager()

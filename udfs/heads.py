"""The first 64 bits of fingerprints, which tell millions of them apart in 8 bytes each."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

HEX_DIGITS = 16


def head_of(fingerprint: str) -> int:
    """Return the head of one fingerprint."""
    return int(fingerprint[:HEX_DIGITS], 16)


def heads_of(rows: DataFrame) -> np.ndarray:
    """Return the heads of a column `fingerprint`, each once, sorted: (rows,) uint64."""
    column = rows.select(F.unhex(F.substring("fingerprint", 1, HEX_DIGITS)).alias("head"))
    found = pa.table(column.toArrow())["head"].combine_chunks().cast(pa.binary(HEX_DIGITS // 2))
    values = np.frombuffer(found.buffers()[1], ">u8", len(found), found.offset * HEX_DIGITS // 2)
    return np.unique(values.astype(np.uint64))

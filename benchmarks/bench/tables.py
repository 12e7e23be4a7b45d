"""The tables: generated, written in several files, and read back for their hash."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from random_model import LINES

from jobs.sample.reports import generate  # the one place

FILES = 8
COLUMNS = ("id", "body", "document", "question")
Rows = Sequence[tuple[str, ...]]


def reports(count: int, middle: float, seed: int = 7) -> list[tuple[str, str]]:
    """Return distinct reports cut after whole sentences; their words are log-normal.

    `middle` is the median number of words; a quarter of the texts has over 1.8 times that.
    """
    rng = Random(seed)
    found = generate(count, seed, words=(400, 900))
    cut = [(it.id, _cut(it.body, round(rng.lognormvariate(0, 0.9) * middle))) for it in found]
    return [(id, f"{text} Reference {i}.") for i, (id, text) in enumerate(cut)]


def prompts(count: int, middle: float, longest: int, seed: int = 7) -> list[tuple[str, str]]:
    """Return texts of words that the random models' tokenizer knows; lengths are log-normal."""
    rng = Random(seed)
    words = " ".join(LINES).split()
    sizes = [min(longest, 2 + int(rng.lognormvariate(0, 0.9) * middle)) for _ in range(count)]
    return [(f"{i:05d}", " ".join([str(i), *rng.choices(words, k=n)])) for i, n in enumerate(sizes)]


def questions(documents: int, each: int, words: int, seed: int = 7) -> Rows:
    """Return `each` questions about every document, shuffled; `body` is document and question."""
    rng = Random(seed)
    known = " ".join(LINES).split()

    def text(middle: float) -> str:
        return " ".join(rng.choices(known, k=2 + round(rng.gauss(middle, middle / 5))))

    asked = [
        (document, text(10))
        for document in [text(words) for _ in range(documents)]
        for _ in range(each)
    ]
    rng.shuffle(asked)
    return [(f"{i:05d}", f"{about}\n{it}", about, it) for i, (about, it) in enumerate(asked)]


def write(path: Path, rows: Rows, files: int = FILES) -> str:
    """Write rows of the first COLUMNS as a Delta table of some files; return its path."""
    size = -(-len(rows) // files)
    for start in range(0, len(rows), size):
        columns = zip(*rows[start : start + size], strict=True)
        write_deltalake(
            str(path), pa.table(dict(zip(COLUMNS, columns, strict=False))), mode="append"
        )
    return str(path)


def read(path: str, columns: str = "id, body") -> pa.Table:
    """Return the columns of a Delta table."""
    query = QueryBuilder().register("t", DeltaTable(path))
    found = pa.table(query.execute(f"SELECT {columns} FROM t").read_all())
    views = {pa.string_view(): pa.string()}  # which Daft takes for objects of Python
    return found.cast(pa.schema([(it.name, views.get(it.type, it.type)) for it in found.schema]))


def save(path: str, ids: Sequence[str], results: Sequence[str | None]) -> None:
    """Write what a contender without Spark has answered."""
    write_deltalake(path, pa.table({"id": ids, "result": pa.array(results, pa.string())}))


def digest(path: str) -> tuple[int, str]:
    """Return the number of answers and the sha256 over the sorted pairs of id and result.

    White space around a result does not count: gristmill's parser takes it off, peers keep it.
    """
    rows = read(path, "id, result").to_pydict()
    results = [result and result.strip() for result in rows["result"]]
    pairs = sorted(zip(rows["id"], results, strict=True))
    answered = sum(result is not None for result in results)
    return answered, hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def _cut(text: str, words: int) -> str:
    kept: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        kept.append(sentence)
        words -= len(sentence.split())
        if words <= 0:
            break
    return " ".join(kept)

"""The identity of a model that is a folder of files."""

import hashlib
from pathlib import Path

from chains.errors import ModelLoadError

_NOT_PART_OF_THE_MODEL = frozenset({"README", "README.md", ".gitattributes"})


def folder_digest(folder: Path) -> str:
    """Return the sha256 (64 hex digits) over the relative names and contents of a folder's files.

    It is the digest of the listing that `sha256sum` writes, sorted by name. Every file counts, in
    subfolders too, except README and .gitattributes, and what tools keep in hidden folders: `.git`,
    or `.cache`, where `hf download` notes the time. Raises `ModelLoadError` where none is left.
    """
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    if not files:
        raise ModelLoadError(f"expected a model's files in {str(folder)!r}, found none")
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{_file_digest(files[name])}  {name}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in _NOT_PART_OF_THE_MODEL
        and not _in_hidden(path, folder)
    ]


def _in_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parent.parts)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

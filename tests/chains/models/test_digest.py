import os
from hashlib import sha256

import pytest

from chains.errors import ModelLoadError
from chains.models.digest import folder_digest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_digest_is_that_of_a_sorted_sha256sum_listing(folder):
    for name in ("b.json", "a.json", "c.json"):
        (folder / name).write_text("{}")
    contents = dict.fromkeys(("1_Pooling/config.json", "a.json", "b.json", "c.json"), b"{}")
    contents["model.safetensors"] = b"weights"
    listing = "".join(f"{sha256(data).hexdigest()}  {n}\n" for n, data in contents.items())
    assert folder_digest(folder) == sha256(listing.encode()).hexdigest()


def test_digest_does_not_depend_on_place_or_time(folder, tmp_path):
    before = folder_digest(folder)
    os.utime(folder / "model.safetensors", (0, 0))
    moved = folder.rename(tmp_path / "elsewhere")
    assert folder_digest(moved) == before
    assert len(before) == 64


def test_readme_and_gitattributes_do_not_count(folder):
    before = folder_digest(folder)
    for name in ("README.md", "README", ".gitattributes"):
        (folder / name).write_text("words")
    assert folder_digest(folder) == before


@pytest.mark.parametrize("kept", [".git/index", ".cache/huggingface/download/config.json.metadata"])
def test_what_tools_keep_of_a_download_does_not_count(folder, kept):
    before = folder_digest(folder)
    (folder / kept).parent.mkdir(parents=True)
    (folder / kept).write_text("fetched at 1764284400.5")
    assert folder_digest(folder) == before


@pytest.mark.parametrize("name", ["model.safetensors", "1_Pooling/config.json"])
def test_any_changed_byte_changes_the_digest(folder, name):
    before = folder_digest(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert folder_digest(folder) != before


def test_a_new_or_renamed_or_moved_file_changes_the_digest(folder):
    seen = {folder_digest(folder)}
    (folder / ".hidden").write_text("")
    seen.add(folder_digest(folder))
    (folder / ".hidden").rename(folder / "tokenizer.json")
    seen.add(folder_digest(folder))
    (folder / "tokenizer.json").rename(folder / "1_Pooling" / "tokenizer.json")
    seen.add(folder_digest(folder))
    assert len(seen) == 4


def test_names_and_contents_are_not_confused(tmp_path):
    for folder, name, content in (("a", "xy", "z"), ("b", "x", "yz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    assert folder_digest(tmp_path / "a") != folder_digest(tmp_path / "b")


@pytest.mark.parametrize("files", [[], ["README.md"]])
def test_a_folder_without_a_model_is_an_error(tmp_path, files):
    for name in files:
        (tmp_path / name).write_text("words")
    with pytest.raises(ModelLoadError, match="expected a model's files"):
        folder_digest(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ModelLoadError, match="nowhere"):
        folder_digest(tmp_path / "nowhere")

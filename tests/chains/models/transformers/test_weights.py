import json
import shutil
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from random_model import build_seq2seq
from safetensors.torch import load_file, save_file

from chains.errors import ModelLoadError
from chains.models.base import Parameters, Request
from chains.models.transformers.model import TransformersModel, resolve_transformers
from chains.models.transformers.weights import snapshot

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


def load(folder):
    """Resolve and load, as a job would; return the answer to one question."""
    model = TransformersModel(resolve_transformers(f"path:{folder}", str(folder)))
    question = Request(({"role": "user", "content": "Mill?"},), Parameters(max_output_tokens=2))
    return model.complete([question])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelLoadError, match=r"model's folder at '.*/none', found nothing"):
        resolve_transformers("path:none", str(tmp_path / "none"))


def test_a_file_is_no_model(folder):
    with pytest.raises(ModelLoadError, match="found a file"):
        resolve_transformers("path:x", str(folder / "config.json"))


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    expected = r"expected config.json and \*.safetensors in .* found .*pytorch_model.bin"
    with pytest.raises(ModelLoadError, match=expected):
        resolve_transformers("path:x", str(folder))


def test_weights_that_vanish_between_driver_and_executor_are_an_error_of_the_model(folder):
    ref = resolve_transformers("path:x", str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"expected config.json and \*.safetensors"):
        TransformersModel(ref).complete([])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("config.json", "config"),
        ("tokenizer.json", "tokenizer"),
        ("model.safetensors", "weights"),
    ],
)
def test_a_file_cut_short_is_named_by_what_it_is(folder, name, part):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelLoadError, match=f"cannot read the {part} of path:"):
        load(folder)


def test_weights_that_lack_a_tensor_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"1 are missing: model\.layers\.1\.mlp\.up_proj"):
        load(folder)


def test_code_that_comes_with_a_model_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(ModelLoadError, match="cannot read the config"):
        load(folder)
    assert not (folder / "ran").exists()


def test_a_package_that_a_quantized_model_needs_is_told_as_its_reader_says(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="pip install -U bitsandbytes") as raised:
        load(folder)
    assert "gristmill[local]" not in str(raised.value)


def test_a_model_that_cannot_run_fails_before_the_first_row(tmp_path):
    folder = build_seq2seq(tmp_path)
    for name in ("config.json", "generation_config.json"):
        config = json.loads((folder / name).read_text())
        config.pop("decoder_start_token_id", None)
        (folder / name).write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="decoder_start_token_id"):
        load(folder)


class Hub(ThreadingHTTPServer):
    """A model hub on loopback with one model, mills/tiny; notes the files it gives away."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.folder = folder
        self.served = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.reply(self.file(), body=False)

    def do_GET(self):
        if self.path.startswith("/api/models/mills/tiny/revision/main"):
            self.reply(json.dumps({"id": "mills/tiny", "sha": COMMIT, "siblings": []}).encode())
        elif self.path.startswith(f"/api/models/mills/tiny/tree/{COMMIT}"):
            self.reply(json.dumps([entry(path) for path in self.server.folder.iterdir()]).encode())
        else:
            self.server.served.append(self.path.rpartition("/")[2])
            self.reply(self.file())

    def file(self):
        path = self.server.folder / self.path.rpartition("/")[2]
        return path.read_bytes() if f"/resolve/{COMMIT}/" in self.path else None

    def reply(self, content, body=True):
        self.send_response(404 if content is None else 200)
        content = content or b""
        self.send_header("ETag", sha1(content).hexdigest())
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


def entry(path):
    oid = sha1(path.read_bytes()).hexdigest()
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": oid}


@pytest.fixture
def hub(tiny_model, monkeypatch, tmp_path):
    """Return a hub that is reached, and an empty cache."""
    with Hub(tiny_model) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        files = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server
        server.shutdown()


def test_a_hub_models_weights_are_fetched_by_who_loads_them(hub):
    ref = resolve_transformers("hf:mills/tiny", "mills/tiny")
    assert ref.digest == COMMIT
    model = TransformersModel(ref)
    assert model.count_tokens([{"role": "user", "content": "Mill?"}]) > 0
    assert "config.json" in hub.served
    assert "model.safetensors" not in hub.served
    assert model.complete([]) == []
    assert hub.served.count("model.safetensors") == 1


def test_a_cached_snapshot_without_weights_is_not_taken_for_whole(hub, folder, tmp_path):
    (folder / "model.safetensors").unlink()
    put(tmp_path / "hub" / "models--mills--tiny", folder)
    assert (snapshot("mills/tiny", COMMIT, weights=True) / "model.safetensors").exists()
    assert hub.served == ["model.safetensors"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty hub cache, with the hub out of reach."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub" / "models--mills--tiny"


def put(cache, files):
    shutil.copytree(files, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)


def test_a_hub_model_is_taken_from_the_cache_at_its_commit(cache, tiny_model):
    put(cache, tiny_model)
    ref = resolve_transformers("hf:mills/tiny", "mills/tiny")
    assert (ref.name, ref.location, ref.digest) == (
        f"mills/tiny@{COMMIT[:12]}",
        "mills/tiny",
        COMMIT,
    )
    assert TransformersModel(ref).count_tokens([{"role": "user", "content": "Mill?"}]) > 0
    (cache / "refs" / "main").write_text("f" * 40)  # the branch moves on, the run does not
    assert TransformersModel(ref).complete([]) == []


def test_a_hub_model_can_be_pinned_to_a_revision(cache, tiny_model):
    put(cache, tiny_model)
    assert resolve_transformers("hf:mills/tiny@main", "mills/tiny@main").digest == COMMIT
    with pytest.raises(ModelLoadError, match="at revision 'v2'"):
        resolve_transformers("hf:mills/tiny@v2", "mills/tiny@v2")


def test_a_hub_model_that_cannot_be_had_says_what_to_do(cache):
    with pytest.raises(ModelLoadError, match=r"cannot get 'mills/tiny'.*`hf download mills/tiny`"):
        resolve_transformers("hf:mills/tiny", "mills/tiny")

"""A model's files: where they are, whether they are all there, and what is read from them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chains.errors import GristmillError, ModelLoadError

DESCRIPTION = ["*.json", "*.txt", "*.jinja", "*.model"]  # all that a tokenizer and a config need
WEIGHTS = "*.safetensors"
GPU_PRECISION = "bfloat16"
NO_FOREIGN_CODE = {"local_files_only": True, "trust_remote_code": False}


def snapshot(repository: str, revision: str | None, weights: bool) -> Path:
    """Return the folder of a hub model: from this host's cache where it is whole, else fetched.

    `revision` is a branch, a tag or a commit, None the default branch; without `weights` only the
    small files are fetched. Raises ModelLoadError where neither the cache nor the hub has it.
    """
    from huggingface_hub import snapshot_download

    patterns = [*DESCRIPTION, WEIGHTS] if weights else DESCRIPTION
    for cached in (True, False):
        try:
            folder = Path(
                snapshot_download(
                    repository, revision=revision, allow_patterns=patterns, local_files_only=cached
                )
            )
        except Exception as error:  # of the cache, of the network, or of the hub
            reason = error
        else:
            if not cached or not weights or any(folder.glob(WEIGHTS)):
                return folder
    raise ModelLoadError(
        f"cannot get {repository!r} at revision {revision or 'main'!r} from this host's cache or "
        f"the hub ({type(reason).__name__}: {reason}); run `hf download {repository}` where the "
        f"hub is reached and share its cache (HF_HOME), or copy the files and set path:FOLDER"
    ) from reason


def local_folder(location: str, revision: str, weights: bool) -> Path:
    """Return the folder of a model that is named by its folder, or by its name on the hub.

    Raises ModelLoadError where its files cannot be had.
    """
    folder = Path(location)
    if not folder.is_absolute():
        folder = snapshot(location, revision, weights)
    check_files(folder, weights)
    return folder


def check_files(folder: Path, weights: bool = True) -> None:
    """Raise ModelLoadError, with what is there, where a model folder lacks files."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ModelLoadError(f"expected a model's folder at {str(folder)!r}, found {found}")
    names = sorted(path.name for path in folder.iterdir())
    whole = "config.json" in names and (not weights or any(folder.glob(WEIGHTS)))
    if not whole:
        raise ModelLoadError(
            f"expected config.json{f' and {WEIGHTS}' if weights else ''} in {str(folder)!r}, found "
            f"{', '.join(names[:20]) or 'nothing'}; fetch what is missing, and convert weights in "
            f"another format with save_pretrained"
        )


@contextmanager
def loading(part: str, name: str) -> Iterator[None]:
    """Translate whatever reading a part of a model raises to ModelLoadError."""
    try:
        yield
    except GristmillError:
        raise
    except ModuleNotFoundError as error:
        raise ModelLoadError(f"{name}: {error}; pip install 'gristmill[local]'") from error
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise ModelLoadError(f"cannot read the {part} of {name}: {found}") from error


def told_window(folder: Path) -> int | None:
    """Return the window in tokens where config.json tells it under its usual name.

    Reads no more than that: transformers would bring torch, which takes 500 MB of a process.
    """
    config = json.loads((folder / "config.json").read_text())
    window: int | None = config.get("text_config", config).get("max_position_embeddings")
    return window


def load_config(folder: Path) -> Any:
    """Return the model's config."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, **NO_FOREIGN_CODE)


def load_tokenizer(folder: Path) -> Any:
    """Return the model's tokenizer, silent about long prompts: the window is checked elsewhere."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, **NO_FOREIGN_CODE)
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def load_weights(folder: Path, config: Any, tokenizer: Any) -> Any:
    """Return the model: bfloat16 on the GPU where there is one, otherwise float32 on the CPU.

    Raises ModelLoadError where the files lack weights, which would otherwise be random. The model
    answers one token before it is returned: what cannot run fails here, and not on every row.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, logging

    # An executor's log is no terminal.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    gpu = torch.cuda.is_available()
    network, report = kind.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, GPU_PRECISION) if gpu else torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        **NO_FOREIGN_CODE,
    )
    if missing := sorted(report["missing_keys"]):
        raise ModelLoadError(
            f"expected all weights of {type(network).__name__} in {str(folder)!r}, "
            f"{len(missing)} are missing: {', '.join(missing[:5])}"
        )
    network = network.to("cuda" if gpu else "cpu").eval()
    network.generation_config = _own_ids(network.generation_config, tokenizer)
    token = torch.full((1, 1), network.generation_config.pad_token_id, device=network.device)
    network.generate(input_ids=token, attention_mask=torch.ones_like(token), max_new_tokens=1)
    return network


def _own_ids(defaults: Any, tokenizer: Any) -> Any:
    """Return a GenerationConfig of the tokens that begin, end and pad an answer, nothing else.

    An answer ends at any token that the model or its tokenizer calls its end: fine-tuned chat
    models often changed only one of the two.
    """
    from transformers import GenerationConfig

    ends = defaults.eos_token_id
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    padding = (tokenizer.pad_token_id, defaults.pad_token_id, *sorted(ends), 0)
    return GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=sorted(ends) or None,
        pad_token_id=next(token for token in padding if token is not None),
        bos_token_id=defaults.bos_token_id,
        decoder_start_token_id=defaults.decoder_start_token_id,
        forced_bos_token_id=defaults.forced_bos_token_id,
    )

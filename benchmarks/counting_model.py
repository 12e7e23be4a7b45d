"""A random-weight model in the shape of a small LLM, whose answers have the length that was asked.

A prompt that ends with a number is answered by counting down from it to zero, and then it ends: of
any two contenders that answer greedily, each says the same, whatever else is in the batch.
"""

from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

from random_model import EOS, LINES, PAD

COUNTED = 1024
WORDS = sorted({word for word in " ".join(LINES).split() if word.isascii() and word.isalpha()})
QWEN3_06B = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
LARGER = {
    name: QWEN3_06B
    | {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    for name, hidden, inner, layers, heads in (
        ("Qwen3-1.7B", 2048, 6144, 28, 16),
        ("Qwen3-4B", 2560, 9728, 36, 32),
        ("Qwen3-8B", 4096, 12_288, 36, 32),
    )
}
TINY = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def build_counting(folder: Path, shape: dict[str, int], device: str) -> Path:
    """Write a model of this shape, in bfloat16, and its tokenizer to `folder`, and return it.

    Its vocabulary is as large as the shape says, of random words. Unlike Qwen3-0.6B's own, its
    output layer does not share its weights with the input's: it has to say what comes next.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _tokenizer(shape["vocab_size"])
    config = Qwen3Config(
        **shape,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    with torch.device(device), torch.no_grad():
        network = Qwen3ForCausalLM(config)
        told, said = network.get_input_embeddings().weight, network.lm_head.weight
        told.normal_()
        numbers = tokenizer.convert_tokens_to_ids([f"Ġ{n}" for n in range(COUNTED)])
        told[numbers] *= 4  # what a layer adds does not hide it
        toward = told[numbers] / told[numbers].norm(dim=1, keepdim=True)
        said[[tokenizer.eos_token_id, *numbers[:-1]]] = toward
    network.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompt(rng: Random, words: int, answer_tokens: int, before: str = "") -> str:
    """Return a text of about so many tokens, whose answer has `answer_tokens`, its end included."""
    return f"{before} {' '.join(rng.choices(WORDS, k=words))} {answer_tokens - 1}"


def skewed(rng: Random, middle: float, longest: int) -> int:
    """Return a log-normal length: a quarter is over 1.8 times the `middle`."""
    return min(longest, 1 + int(rng.lognormvariate(0, 0.9) * middle))


def _tokenizer(size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    rng = Random(0)
    known = [PAD, EOS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    known += [f"Ġ{n}" for n in range(COUNTED)] + [f"Ġ{word}" for word in WORDS]
    vocabulary = dict.fromkeys(known)
    while len(vocabulary) < size:
        word = "".join(rng.choices(ascii_lowercase, k=rng.randint(2, 8)))
        vocabulary[rng.choice(("Ġ", "")) + word] = None
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        model_max_length=4096,
        chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
    )

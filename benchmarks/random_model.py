"""Random-weight models of real architectures, built locally: for tests and throughput runs."""

from pathlib import Path
from typing import Any

LINES = (
    "Once upon a time a miller ground corn beside the river, and the wheel turned all night.",
    "The quick brown fox jumps over the lazy dog; 0123456789 times, she said.",
    "Summarize the report in two sentences. Answer in the language of the report.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, 5 € pro Stück.",
)
PAD, EOS, START, END = "<|pad|>", "<|eos|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny(folder: Path) -> Path:
    """Write a chat model of about 130k parameters (Qwen3, 2 layers) to `folder` and return it.

    Its weights are spread wide, so that prompts that differ get greedy answers that differ, and its
    end-of-sequence row is doubled, so that some of them end by themselves.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _tokenizer(window=1024)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        initializer_range=0.2,
        tie_word_embeddings=False,
        **_ids(tokenizer),
    )
    model = _random(Qwen3ForCausalLM, config)
    model.lm_head.weight.data[tokenizer.eos_token_id] *= 2
    return _save(model, tokenizer, folder)


def build_llama(
    folder: Path, hidden: int = 512, layers: int = 9, vocabulary: int = 8_192, window: int = 4096
) -> Path:
    """Write a chat model of about 31M parameters (Llama) to `folder` and return it.

    The tokenizer uses only the first few hundred of `vocabulary` ids; the rest are there for the
    cost of the output layer and never the likeliest. Its weights are spread wide, so that it does
    not repeat the prompt's last token.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(window)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 128,
        max_position_embeddings=window,
        initializer_range=0.1,
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )
    model = _random(LlamaForCausalLM, config)
    model.get_input_embeddings().weight.data[len(tokenizer) :] = 0
    return _save(model, tokenizer, folder)


def build_seq2seq(folder: Path) -> Path:
    """Write an encoder-decoder model (T5, 2 layers, no chat template) to `folder` and return it."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _tokenizer(window=512, chat_template=None)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        initializer_factor=2.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        **_ids(tokenizer),
    )
    return _save(_random(T5ForConditionalGeneration, config), tokenizer, folder)


def _tokenizer(window: int, chat_template: str | None = CHAT_TEMPLATE) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        show_progress=False,
        special_tokens=[PAD, EOS, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[START, END],
        padding_side="left",
        model_max_length=window,
        chat_template=chat_template,
    )


def _ids(tokenizer: Any) -> dict[str, Any]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }


def _random(kind: Any, config: Any, seed: int = 0) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config)


def _save(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

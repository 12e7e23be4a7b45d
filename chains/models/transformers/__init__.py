"""Models of Hugging Face in the process: a causal language model on CPU or GPU."""

"""The harness: contenders are processes, trials are interleaved, outputs are compared."""

"""adaptive-k: keeps num_speculative_tokens right on a running vLLM server."""

__version__ = "0.1.0"

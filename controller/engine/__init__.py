"""Runs inside vLLM's own processes: changes k between two engine steps, and takes it back when nobody renews it.

It is packed as `adaptive_k_vllm` in a wheel of its own, so it imports nothing but Python's standard library and vLLM,
and speaks Python 3.10, the oldest that vLLM still runs on.
"""

"""A server that speaks like vLLM and knows the truth: the demo's engine, the tests' and benchmarks' bench.

Physics, never the model that it is used to judge: nothing here imports that. Of the rest of the project it hosts the
engine plugin, as a vLLM server does (docs/decisions/0007).
"""

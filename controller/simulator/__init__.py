"""A server that speaks like vLLM and knows the truth: the demo's engine, the tests' and benchmarks' bench.

Physics, never the model that it is used to judge: nothing here imports anything else of this project.
"""

"""Fleets of simulated vLLM servers as Prometheus would have recorded them, and the truth about them."""

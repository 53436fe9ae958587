"""What the panels ask for.

A panel shows one number for all servers that the variables select, so that it stays readable with one and with fifty:
the worst of them for margins, the mean for k and acceptance, the sum for throughput.
"""  # noqa: INP001

from typing import Final

SIDECAR: Final = 'namespace=~"$namespace", job=~"$job", pod=~"$pod", instance=~"$instance"'
ENGINE: Final = f'{SIDECAR}, model_name=~"$model_name", engine=~"$engine"'
SERVER: Final = 'namespace=~"$namespace", pod=~"$pod", model_name=~"$model_name", engine=~"$engine"'
"""vLLM is scraped under a job and an instance of its own."""
ALERTING: Final = 'ALERTS{alertname=~"AdaptiveK.+", alertstate="firing", namespace=~"$namespace", pod=~"$pod"}'
HEALTH: Final = f"""max(
  7 + 0 * (
    up{{{SIDECAR}}} == 0
    and on (job, instance)
    (up{{job=~".*adaptive-k.*"}} or max_over_time(adaptive_k_build_info{{{SIDECAR}}}[1d]))
  )
  or
  6 + 0 * (time() - adaptive_k_last_success_timestamp_seconds{{{SIDECAR}}} > 600)
  or
  6 * (
    adaptive_k_build_info{{{SIDECAR}}}
    and on (job, instance) adaptive_k_build_info{{{SIDECAR}}} offset 10m
    unless on (job, instance) adaptive_k_last_success_timestamp_seconds)
  or
  5 + 0 * (time() - adaptive_k_last_success_timestamp_seconds{{{SIDECAR}}} > 120)
  or
  5 * (adaptive_k_build_info{{{SIDECAR}}} unless on (job, instance) adaptive_k_last_success_timestamp_seconds)
  or
  4 + 0 * (
    increase(adaptive_k_actuation_failures_total{{{ENGINE}}}[10m]) > 0
    and ignoring (reason)
    (
      sum without (reason) (increase(adaptive_k_actuation_failures_total{{{ENGINE}}}[10m]))
      >
      0.5 * sum without (outcome) (increase(adaptive_k_actuations_total{{{ENGINE}}}[10m]))
    )
  )
  or
  3 + 0 * (max_over_time(adaptive_k_applied{{{ENGINE}}}[10m]) == 0)
  or
  2 + 0 * (increase(adaptive_k_changes_total{{{ENGINE}}}[1h]) > 24)
  or
  adaptive_k_frozen{{{ENGINE}}} == 1
  or
  0 * adaptive_k_build_info{{{SIDECAR}}}
)"""
"""The worst of what is wrong; conditions as in the alerts, but that a page that cannot be read is seen at once."""


def own(aggregate: str, name: str, matchers: str = "") -> str:
    """One aggregate of one of our series over the selected engines."""
    return f"{aggregate} (adaptive_k_{name}{{{', '.join(filter(None, (ENGINE, matchers)))}}})"


def rate(name: str) -> str:
    """The summed rate of one of vLLM's counters, under either spelling of its name."""
    spelt = (f"rate({prefix}{name}{{{SERVER}}}[$__rate_interval])" for prefix in ("vllm:", "vllm_"))
    return f"sum ({' or '.join(spelt)})"


def per_minute(name: str, labels: str, matchers: str) -> str:
    """How often a counter of ours rose, by these labels; what did not happen is left out."""
    return f"sum by ({labels}) (rate(adaptive_k_{name}{{{matchers}}}[$__rate_interval])) * 60 > 0"

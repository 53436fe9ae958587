"""Every own metric, declared once: the page, `docs/metrics.md`, and the tests of rules and dashboards come from here.

Base units; ratios from 0 to 1, or around 1; timestamps rather than ages; `low` and `high` are 90% bounds. Counters have
every label set from the start. Anything else is left out while it is not known, never 0 or NaN.
"""

from collections.abc import Iterator
from typing import Final

from controller import __version__
from controller.act.actuator import Outcome
from controller.reason import ACTING_FAILED, OBSERVING_FAILED
from controller.report.stake import stake
from controller.serve import telemetry_read as read
from controller.serve.telemetry_family import (
    ENGINE_LABELS,
    PREFIX,
    Family,
    Kind,
    alone,
    bounded,
    counted,
    labelled,
    of_cycle,
    of_engine,
    placed,
)
from controller.serve.telemetry_read import Value
from controller.serve.telemetry_state import OUTCOMES, EngineCounts, State


def _decisions(counts: EngineCounts) -> Iterator[Value]:
    for (action, reason), count in {**dict.fromkeys(OUTCOMES, 0), **counts.decisions}.items():
        yield (action.value, reason.value), count


def _last_changes(state: State) -> Iterator[Value]:
    for key, counts in state.engines.items():
        if counts.changed_unix_seconds is not None:
            yield placed(key), counts.changed_unix_seconds


def _expiries(state: State) -> Iterator[Value]:
    if state.cycle is None or state.cycle.failure is not None:  # what the plugin told counts from an earlier pass
        return
    for engine in state.cycle.engines:
        at = read.expiry(engine, state.cycle.at_unix_seconds)
        if at is not None:
            yield placed(engine.key), at


LABELS: Final = {
    "model_name": "As vLLM labels its own series.",
    "engine": "As vLLM labels its own series.",
    "basis": "`measured` at this load, or `modelled` from what was measured elsewhere and priors.",
    "against": "`k0`: this server at k=0; `no_speculation`: one that was launched without speculation.",
    "schedule": "`recommended`; `in_force` in the engine; `launch`: what the engine returns to.",
    "batch": "Decoding requests per step.",
    "k": "Draft tokens per step.",
    "position": "Of a draft token, from 0, as vLLM counts.",
    "workload": "`vllm_xargs.workload` of a request, else its adapter, else the model; at most 65.",
    "action": "What was decided.",
    "reason": "Why; see reasons.md.",
    "outcome": "What acting did.",
    "version": "Of adaptive-k.",
}
"""What each label means; the same everywhere."""
FAMILIES: Final[tuple[Family, ...]] = (
    # outcome: what is drafted, what should be, and what it brings
    *of_engine("max_k", "tokens", "Largest k: num_speculative_tokens at launch.", lambda each: each.k_max),
    *of_engine(
        "effective_k", "tokens", "Mean k in force over the window, by its counters.", lambda each: each.decision.k_now
    ),
    *of_engine(
        "current_k",
        "tokens",
        "k that the schedule in force asks for at the present load; only under live control.",
        read.current_k,
    ),
    *of_engine("recommended_k", "tokens", "k to run at the present load.", lambda each: each.decision.k),
    *of_engine(
        "best_k",
        "tokens",
        "k with the highest expected throughput, whether or not the evidence suffices to go there.",
        lambda each: each.decision.k_best,
    ),
    *of_engine(
        "batch_requests",
        "requests",
        "Load that was decided for: decoding requests per step.",
        lambda each: each.decision.batch,
    ),
    *labelled(
        "schedule_k",
        "tokens",
        "k at batches of 1, 2, 4, ... 1024; in_force and launch only under live control.",
        ("schedule", "batch"),
        read.schedules,
    ),
    *bounded(
        "gain_ratio",
        "ratio",
        "Expected throughput at the recommended k over now; 1 is no gain.",
        ("basis",),
        read.gain,
    ),
    *of_engine(
        "decoded_tokens_per_second",
        "tokens per second",
        "Tokens after the first of each request, per second of wall time, by the counters of the window.",
        lambda each: at.tokens_per_second if (at := stake(each)) else None,
    ),
    *bounded(
        "gain_tokens_per_second",
        "tokens per second",
        "What the recommended k would add to that, or where none is recommended the k that looks best.",
        (),
        lambda each: [((), at.to_gain)] if (at := stake(each)) else [],
    ),
    *bounded(
        "loss_tokens_per_second",
        "tokens per second",
        "What k=0 would add to that where speculation loses; 0 where it does not.",
        (),
        lambda each: [((), at.lost)] if (at := stake(each)) else [],
    ),
    *of_engine(
        "replicas",
        "engines",
        "Engines behind the row: 1 beside one server, all that share the row's labels in a fleet.",
        lambda each: each.replicas.known if each.replicas else 1,
    ),
    *of_engine(
        "replicas_counted",
        "engines",
        "Those of them with a usable window in the last pass.",
        lambda each: each.replicas.counted if each.replicas else 1,
    ),
    *bounded(
        "margin_ratio",
        "ratio",
        "Throughput now over what it is compared with, minus 1; below 0 speculation loses.",
        ("against", "basis"),
        read.margin,
    ),
    # acceptance
    *bounded(
        "acceptance_ratio",
        "ratio",
        "P(this draft position and all before it are accepted). The first position is 0, as in vLLM.",
        ("position",),
        read.acceptance,
    ),
    *of_engine(
        "acceptance_length_tokens",
        "tokens",
        "Tokens per verified draft in the window, bonus token included.",
        lambda each: each.window.mean_acceptance_length if each.window else None,
    ),
    *labelled(
        "expected_tokens_per_step",
        "tokens",
        "Tokens that one request is expected to get from a step at each k, bonus token included.",
        ("k",),
        read.tokens_by_k,
    ),
    *of_engine(
        "evidence_drafts",
        "drafts",
        "Drafts behind the estimate of acceptance; older ones count less.",
        lambda each: each.acceptance.evidence_drafts if each.acceptance else None,
    ),
    *of_engine(
        "evidence_positions",
        "positions",
        "Draft positions that were seen; acceptance beyond them is extrapolated.",
        lambda each: each.acceptance.positions_observed if each.acceptance else None,
    ),
    # economics
    *of_engine(
        "step_seconds",
        "seconds",
        "Mean engine step in the window.",
        lambda each: each.window.step_seconds if each.window else None,
    ),
    *bounded(
        "expected_tokens_per_second",
        "tokens per second",
        "Expected throughput of the server at each k, at the present load.",
        ("k", "basis"),
        read.throughput_by_k,
    ),
    *labelled(
        "draft_cost_ratio",
        "ratio",
        "Implied cost of a draft: what each adds to a step, as a share of the step at k=0.",
        ("basis",),
        read.draft_cost,
    ),
    *labelled(
        "saturation_tokens",
        "tokens",
        "Tokens of a step at which computing costs as much as reading the weights.",
        ("basis",),
        read.saturation,
    ),
    *of_engine(
        "crossover_batch_requests",
        "requests",
        "Batch from which on the recommended schedule drafts nothing; left out where it always drafts.",
        read.crossover_batch,
    ),
    *of_engine(
        "step_tokens", "tokens", "Tokens that the mean step verifies: batch (1 + k in force).", read.step_tokens
    ),
    *of_engine(
        "capture_limit_tokens",
        "tokens",
        "Tokens of a step beyond which vLLM has no captured CUDA graph, as stated with --capture-limit-tokens.",
        read.capture_limit,
    ),
    # workloads
    *labelled(
        "workload_share_ratio",
        "ratio",
        "Share of the verified drafts.",
        ("workload",),
        lambda each: (((w.name,), w.share) for w in each.workloads[: read.WORKLOADS_MAX]),
    ),
    *labelled(
        "workload_acceptance_length_tokens",
        "tokens",
        "Tokens that a draft of max_k would yield, bonus token included.",
        ("workload",),
        read.workload_acceptance_length,
    ),
    *labelled(
        "workload_best_k",
        "tokens",
        "k that would serve the workload best if it were alone, at the present load.",
        ("workload",),
        lambda each: (((w.name,), float(w.k_best)) for w in each.workloads[: read.WORKLOADS_MAX]),
    ),
    *bounded(
        "workload_margin_ratio",
        "ratio",
        "The workload's throughput at the k of the mix over k=0, minus 1.",
        ("workload",),
        read.workload_margin,
    ),
    *labelled(
        "workload_mix_cost_ratio",
        "ratio",
        "Throughput of the workload at its own best k over that at the k of the mix, minus 1.",
        ("workload",),
        lambda each: (((w.name,), w.cost_of_mix) for w in each.workloads[: read.WORKLOADS_MAX]),
    ),
    # acting, under live control
    *counted(
        "decisions_total", "decisions", "Decisions by what was decided and why.", ("action", "reason"), _decisions
    ),
    *counted(
        "changes_total",
        "changes",
        "Lasting changes that were decided; without live control, how often another k was recommended.",
        (),
        lambda each: [((), each.changes)],
    ),
    Family(
        f"{PREFIX}last_change_timestamp_seconds",
        Kind.GAUGE,
        ENGINE_LABELS,
        "seconds",
        "When adaptive_k_changes_total last rose.",
        _last_changes,
    ),
    *counted(
        "actuations_total",
        "passes",
        "Passes by what acting on the decision did.",
        ("outcome",),
        lambda each: [((outcome.value,), each.actuations[outcome]) for outcome in Outcome],
    ),
    *counted(
        "actuation_failures_total",
        "passes",
        "Passes in which the engine plugin or the Kubernetes API server did not do what was wanted, by why.",
        ("reason",),
        lambda each: [((reason.value,), each.actuation_failures[reason]) for reason in ACTING_FAILED],
    ),
    *of_engine(
        "applied",
        "0 or 1",
        "Whether the engine ran the k that its schedule says, by its own counters; left out where they cannot tell.",
        lambda each: each.control.applied if each.control else None,
    ),
    *of_engine(
        "frozen",
        "0 or 1",
        "Whether the operator froze changes; there only under live control.",
        lambda each: each.control.frozen if each.control else None,
    ),
    Family(
        f"{PREFIX}schedule_expiry_timestamp_seconds",
        Kind.GAUGE,
        ENGINE_LABELS,
        "seconds",
        "When the engine returns to its launch schedule unless what it holds is renewed.",
        _expiries,
    ),
    *bounded(
        "predicted_gain_ratio",
        "ratio",
        "Gain that was expected of the last change, as throughput after over before.",
        (),
        read.predicted,
    ),
    *bounded(
        "realised_gain_ratio", "ratio", "Gain that the last change brought, measured at like load.", (), read.realised
    ),
    *of_engine(
        "prediction_error_ratio",
        "ratio",
        "Realised gain of the last change over the predicted one, minus 1.",
        read.prediction_error,
    ),
    # the controller itself
    Family(
        f"{PREFIX}build_info",
        Kind.GAUGE,
        ("version",),
        "1",
        "Version of adaptive-k.",
        lambda _: [((__version__,), 1.0)],
    ),
    *alone(
        "cycles_total",
        "passes",
        "Passes of the loop.",
        lambda state: state.cycle.number if state.cycle else 0,
        Kind.COUNTER,
    ),
    Family(
        f"{PREFIX}failures_total",
        Kind.COUNTER,
        ("reason",),
        "failures",
        "Pages or windows that could not be used.",
        lambda state: [((reason.value,), state.failures[reason]) for reason in OBSERVING_FAILED],
    ),
    *alone(
        "last_success_timestamp_seconds",
        "seconds",
        "When the server's page, and the counters of any engine on it, could last be used.",
        lambda state: state.last_success_unix_seconds,
    ),
    *of_cycle("cycle_duration_seconds", "seconds", "Duration of the last pass.", lambda cycle: cycle.seconds),
    *of_cycle(
        "scrape_duration_seconds",
        "seconds",
        "Duration of reading the server in it: its page, and its plugin where there is one.",
        lambda cycle: cycle.observe_seconds,
    ),
)
"""In the order of the page and of the document."""

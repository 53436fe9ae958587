"""The rows below the first."""  # noqa: INP001

from typing import Final

from panels import (
    BLUE,
    DASHED,
    GREEN,
    PURPLE,
    RED,
    YELLOW,
    Json,
    band,
    fixed,
    override,
    query,
    row_query,
    steps,
    table,
    timeseries,
)
from queries import ENGINE, SIDECAR, own, per_minute

BATCHES: Final = tuple(str(2**power) for power in range(11))
WORKLOAD: Final = (
    ("avg", "workload_share_ratio", "Share", {"unit": "percentunit", "decimals": 0}),
    ("avg", "workload_acceptance_length_tokens", "Tokens/draft", {"decimals": 2}),
    ("avg", "workload_best_k", "Best k", {"decimals": 0}),
    (
        "min",
        "workload_margin_ratio",
        "Over k=0",
        {
            "unit": "percentunit",
            "decimals": 0,
            "color": {"mode": "thresholds"},
            "thresholds": steps((None, RED), (0, GREEN)),
            "custom.cellOptions": {"type": "color-text"},
        },
    ),
    ("max", "workload_mix_cost_ratio", "Lost to one k", {"unit": "percentunit", "decimals": 1}),
)
"""Columns: how several servers become one, the series, the title, how it looks."""


def acceptance() -> list[Json]:
    """How well the drafter guesses, and for whom."""
    letters = [f"Value #{letter}" for letter, _ in zip("ABCDE", WORKLOAD, strict=True)]
    titles = [title for _, _, title, _ in WORKLOAD]
    return [
        timeseries(
            "Acceptance by draft position",
            "Probability that this draft token and all before it are accepted; vLLM counts positions from 0. The first "
            "does not depend on k: below the red line hardly any draft is right, AdaptiveKAcceptanceCollapsed. "
            "Of several servers, the mean.",
            [query(own("avg by (position)", "acceptance_ratio"), "position {{position}}")],
            unit="percentunit",
            decimals=1,
            min=0,
            max=1,
            width=12,
            thresholds=steps((None, "transparent"), (0.1, RED)),
            thresholds_shown="dashed",
            no_value="no drafts",
        ),
        table(
            "Workloads",
            "Workloads that share a server. Best k would serve one best if it were alone; the last column is what it "
            "loses because all share one k. Needs the engine plugin (--plugin-token-file). Of several servers, "
            "the mean, but the worst of the last two columns.",
            [row_query(own(f"{aggregate} by (workload)", name)) for aggregate, name, _, _ in WORKLOAD],
            width=12,
            transformations=[
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "indexByName": {name: i for i, name in enumerate(("workload", *letters))},
                        "renameByName": {"workload": "Workload", **dict(zip(letters, titles, strict=True))},
                    },
                },
            ],
            overrides=[override(title, noValue="-", **look) for _, _, title, look in WORKLOAD],
            sort_by="Share",
            no_value="no workloads: needs the engine plugin",
        ),
    ]


def economics() -> list[Json]:
    """What drafts cost, what they bring, and where that turns."""
    corner = r"schedule\batch"
    expected = own("sum by (k)", "expected_tokens_per_second")
    at_k0 = own("sum", "expected_tokens_per_second", 'k="0"')
    return [
        timeseries(
            "Expected throughput at each k, over k=0",
            "What each k would be worth at the load of the moment: expected throughput of all selected servers over "
            "what they would reach at k=0, minus 1. The highest line is the best k; where lines cross, it changes.",
            [query(f"{expected} / ignoring (k) group_left () {at_k0} - 1", "k={{k}}")],
            unit="percentunit",
            width=7,
            no_value="no evidence",
        ),
        table(
            "Schedule: k by batch",
            "k at every batch (decoding requests per step): as recommended, as in force in the engine, and as at "
            "launch, to which the engine returns by itself. The last two are known under live control only. "
            "Of several servers, the mean.",
            [row_query(own("avg by (schedule, batch)", "schedule_k"))],
            width=10,
            transformations=[
                {
                    "id": "groupingToMatrix",
                    "options": {"columnField": "batch", "rowField": "schedule", "valueField": "Value"},
                },
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {},
                        "indexByName": {name: i for i, name in enumerate((corner, *BATCHES))},
                        "renameByName": {corner: "batch"},
                    },
                },
            ],
            color={"mode": "continuous-blues"},
            min=0,
            max=8,
            decimals=0,
            cells={"type": "color-background", "mode": "basic"},
            least_width=32,
            overrides=[
                override(
                    "batch",
                    mappings=[{"type": "value", "options": {"in_force": {"text": "in force", "index": 0}}}],
                    **{"custom.width": 120, "custom.cellOptions": {"type": "auto"}},
                )
            ],
            no_value="no evidence",
        ),
        timeseries(
            "Tokens in a step, and its limits",
            "A step verifies 1 + k tokens for each request. Up to saturation a step costs little more than reading the "
            "weights, and drafts are nearly free; beyond it each costs as much as a token. Beyond the capture limit, "
            "which --capture-limit-tokens states, vLLM has no CUDA graph: AdaptiveKCaptureLimitExceeded. Of several "
            "servers, the largest step and the lowest limits.",
            [
                query(own("max", "step_tokens"), "tokens verified"),
                query(own("max", "batch_requests"), "requests"),
                query(own("min", "saturation_tokens"), "saturation"),
                query(own("min", "capture_limit_tokens"), "capture limit"),
            ],
            unit="short",
            min=0,
            width=7,
            overrides=[
                override("tokens verified", color=fixed(BLUE), **{"custom.fillOpacity": 15}),
                override("requests", color=fixed(PURPLE)),
                override("saturation", color=fixed(YELLOW), **DASHED),
                override("capture limit", color=fixed(RED), **DASHED),
            ],
            no_value="no load",
        ),
    ]


def controller() -> list[Json]:
    """What adaptive-k decided, why, and whether it was right."""
    gains = {
        "expected": "gain_ratio",
        "low": "gain_low_ratio",
        "high": "gain_high_ratio",
        "promised by the last change": "predicted_gain_ratio",
        "realised by it": "realised_gain_ratio",
    }
    return [
        timeseries(
            "Decisions per minute, and why",
            "What the passes decided and why, and why a pass failed; docs/reasons.md says what each reason means. "
            "AdaptiveKRolledBack tells when a change was taken back, AdaptiveKCountersDisagree when the server's own "
            "counters cannot be true.",
            [
                query(per_minute("decisions_total", "action, reason", ENGINE), "{{action}}: {{reason}}"),
                query(per_minute("failures_total", "reason", SIDECAR), "failed: {{reason}}"),
            ],
            unit="short",
            min=0,
            width=12,
            stacked=True,
            calcs=[],
            no_value="no passes",
        ),
        timeseries(
            "Gain: expected and realised",
            "Throughput at the recommended k over now, minus 1, with 90% bounds: what following the recommendation "
            "would bring. Under live control also what the last change promised, and what it brought, measured at like "
            "load. Of several servers, the mean.",
            [query(f"{own('avg', name)} - 1", title) for title, name in gains.items()],
            unit="percentunit",
            width=12,
            soft=(-0.05, 0.05),
            overrides=[
                *band("low", "high", BLUE),
                override("expected", color=fixed(BLUE)),
                override("promised by the last change", color=fixed(YELLOW), **DASHED),
                override("realised by it", color=fixed(GREEN)),
            ],
            no_value="no evidence",
        ),
    ]

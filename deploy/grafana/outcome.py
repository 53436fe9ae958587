"""The first row, which is all that one should need at night."""  # noqa: INP001

from typing import Final

from panels import (
    BLUE,
    DASHED,
    GREEN,
    GREY,
    ORANGE,
    RED,
    YELLOW,
    Json,
    band,
    fixed,
    override,
    query,
    stat,
    states,
    steps,
    timeseries,
)
from queries import ALERTING, HEALTH, own, rate

K0: Final = 'against="k0"'


def outcome() -> list[Json]:
    """Is it helping, what is it doing, is it healthy."""
    return [*_at_a_glance(), *_over_time()]


def _at_a_glance() -> list[Json]:
    low, high = own("min", "margin_low_ratio", K0), own("min", "margin_high_ratio", K0)
    return [
        stat(
            "Does drafting pay?",
            "Throughput now over the same server at k=0, and what its 90% bounds make of it: yes when the lower one is "
            "above 0, no when the upper one is below it. Of several servers, the worst. "
            "A lasting no is the alert AdaptiveKNegativeMargin.",
            [
                query(f"({low} > bool 0) - ({high} < bool 0)", "verdict"),
                query(own("min", "margin_ratio", K0), "over k=0"),
            ],
            width=6,
            mappings=states({-1: ("no", RED), 0: ("unclear", YELLOW), 1: ("yes", GREEN)}),
            overrides=[override("over k=0", unit="percentunit", decimals=0, mappings=[])],
            no_value="no evidence",
        ),
        stat(
            "What it does",
            "Draft tokens per step that ran, those that adaptive-k recommends at this load, and the tokens that a "
            "verified draft yields, bonus token included. Of several servers, the mean.",
            [
                query(own("avg", "effective_k"), "k now"),
                query(own("avg", "recommended_k"), "k recommended"),
                query(own("avg", "acceptance_length_tokens"), "tokens per draft"),
            ],
            width=8,
            decimals=1,
            overrides=[override("k now", color=fixed(BLUE)), override("k recommended", color=fixed(GREEN))],
            no_value="no drafts",
        ),
        stat(
            "adaptive-k",
            "The worst state of the selected sidecars. down: does not answer. stale: no usable page of its server for "
            "ten minutes. no page: for two, or none yet, as while a model loads. cannot act: most passes failed at the "
            "engine plugin. not applied: the engine runs another k than its schedule says. flapping: more than 24 "
            "changes in an hour. frozen: an operator holds k. Each but frozen and no page is an alert.",
            [query(HEALTH, "state")],
            width=5,
            mappings=states(
                {
                    0: ("fine", GREEN),
                    1: ("frozen", BLUE),
                    2: ("flapping", ORANGE),
                    3: ("not applied", ORANGE),
                    4: ("cannot act", RED),
                    5: ("no page", ORANGE),
                    6: ("stale", RED),
                    7: ("down", RED),
                }
            ),
            no_value="not scraped",
        ),
        stat(
            "Alerts that fire",
            "Of adaptive-k's rules, for the selected namespaces and pods; red marks in the graphs say which and when. "
            "rules not loaded: Prometheus does not evaluate those of deploy/prometheus.",
            [query(f"count({ALERTING}) or 0 * count(adaptive_k:generated_tokens:rate5m)", "alerts")],
            width=5,
            decimals=0,
            mappings=states({0: ("none", GREEN)}),
            thresholds=steps((None, GREEN), (1, RED)),
            no_value="rules not loaded",
        ),
    ]


def _over_time() -> list[Json]:
    generated, first = rate("generation_tokens_total"), rate("time_to_first_token_seconds_count")
    latency = f"{rate('inter_token_latency_seconds_sum')} / ({generated} - {first} > 0)"
    return [
        timeseries(
            "Throughput over k=0",
            "What drafting brings or costs: throughput now over the same server at k=0, minus 1, with 90% bounds. "
            "Modelled until k=0 has run at this load. All of the band in the red: AdaptiveKNegativeMargin, or "
            "AdaptiveKNegativeMarginModelled. Of several servers, the worst.",
            [
                query(own("min by (basis)", "margin_ratio", K0), "margin, {{basis}}"),
                query(own("min", "margin_low_ratio", K0), "low"),
                query(own("min", "margin_high_ratio", K0), "high"),
            ],
            unit="percentunit",
            thresholds=steps((None, RED), (0, "transparent")),
            thresholds_shown="area",
            soft=(-0.1, 0.1),
            overrides=[
                *band("low", "high", GREEN),
                override("margin, measured", color=fixed(GREEN)),
                override("margin, modelled", color=fixed(GREEN), **DASHED),
            ],
            no_value="no evidence: no drafts, or no load",
        ),
        timeseries(
            "Draft tokens per step (k)",
            "k that ran by the engine's counters, k recommended at the load of the moment, and the largest k that the "
            "launch allows. Blue marks are lasting changes. AdaptiveKNotApplied watches that the engine does what its "
            "schedule says, AdaptiveKFlapping that k does not change all the time. Of several servers, the mean.",
            [
                query(own("avg", "effective_k"), "now"),
                query(own("avg", "recommended_k"), "recommended"),
                query(own("max", "max_k"), "largest"),
            ],
            unit="none",
            min=0,
            overrides=[
                override("now", color=fixed(BLUE)),
                override("recommended", color=fixed(GREEN), **DASHED, **{"custom.lineInterpolation": "stepAfter"}),
                override("largest", color=fixed(GREY), **{"custom.lineWidth": 1}),
            ],
            no_value="no drafts",
        ),
        timeseries(
            "What clients get",
            "From vLLM's own counters: tokens per second of all selected servers, and the mean time from one token of "
            "a request to its next. Choose by pod: instance is adaptive-k's.",
            [query(generated, "tokens per second"), query(latency, "seconds per token (right)")],
            unit="short",
            min=0,
            overrides=[
                override("tokens per second", color=fixed(BLUE), **{"custom.fillOpacity": 15}),
                override(
                    "seconds per token (right)", color=fixed(ORANGE), unit="s", **{"custom.axisPlacement": "right"}
                ),
            ],
            no_value="no vLLM counters for this selection",
        ),
    ]

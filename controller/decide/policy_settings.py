"""When to act, as the operator wants it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """When to act.

    Attributes:
        minimum_gain: Least gain worth a change, as a ratio minus 1.
        minimum_drafts: Least evidence, in drafts.
        cooldown_seconds: Least time between two changes at the present load, and between two at other batch sizes;
            roll-backs and proven probes do not wait.
        max_batch: Largest batch of the schedule: the server's max_num_seqs.
        tpot_target_seconds: Time per output token to meet with the fewest drafts; None for the highest throughput.
        exploration_budget: Share of throughput that measuring another k may cost.
        pressure_seconds: Time per output token above which nothing is explored; None without such a limit.
        interval_seconds: Between two passes: who wants a shorter one expects faster changes, too.
    """

    minimum_gain: float = 0.03
    minimum_drafts: float = 300.0
    cooldown_seconds: float = 60.0
    max_batch: int = 256
    tpot_target_seconds: float | None = None
    exploration_budget: float = 0.01
    pressure_seconds: float | None = None
    interval_seconds: float = 10.0

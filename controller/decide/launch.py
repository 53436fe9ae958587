"""The launch schedule under which every k can later be reached live."""

from controller.decide.decision import Schedule
from controller.decide.schedule import k_at


def refuse_bad_schedule(schedule: Schedule, k_max: int) -> None:
    """vLLM's rules for `num_speculative_tokens_per_batch_size`, and k at most k_max.

    Raises:
        ValueError: Which range breaks which rule.

    >>> refuse_bad_schedule(((1, 16, 5), (17, 64, 3)), 5)
    >>> refuse_bad_schedule(((2, 16, 5),), 5)
    Traceback (most recent call last):
    ValueError: the first range starts at 2; it must start at batch 1
    """
    if not schedule:
        raise ValueError("the schedule is empty; at least one range [lowest batch, highest batch, k] is needed")
    previous = 0
    for low, high, k in schedule:
        if previous == 0 and low != 1:
            raise ValueError(f"the first range starts at {low}; it must start at batch 1")
        if low <= previous:
            raise ValueError(f"the range [{low}, {high}, {k}] overlaps the one before it, or is out of order")
        if high < low:
            raise ValueError(f"the range [{low}, {high}, {k}] ends before it starts")
        if not 0 <= k <= k_max:
            raise ValueError(f"the range [{low}, {high}, {k}] asks for k={k}; 0..{k_max} is possible")
        previous = high


def launch_schedule(wanted: Schedule, k_max: int, max_num_seqs: int) -> Schedule:
    """The wanted schedule, with every other k in 0..k_max given one batch size near the top.

    vLLM's V2 runner captures CUDA graphs only for the k values that occur in the launch schedule for a batch of
    1..max_num_seqs. So that k can be changed live without losing the graphs, each of the m values that the wanted
    schedule lacks gets one batch size in N-m..N-1, and N itself keeps the saturation k, the one wanted for the largest
    batch. A full batch is where a server spends its time, hence N keeps its own.

    Raises:
        ValueError: A schedule that vLLM would refuse, or too few batch sizes to fit every k.

    >>> launch_schedule(((1, 32, 3), (33, 256, 1)), 3, 256)
    ((1, 32, 3), (33, 253, 1), (254, 254, 0), (255, 255, 2), (256, 256, 1))
    >>> launch_schedule(((1, 8, 2),), 2, 8)
    ((1, 5, 2), (6, 6, 0), (7, 7, 1), (8, 8, 2))
    """
    refuse_bad_schedule(wanted, k_max)
    used = {k for low, _, k in wanted if low <= max_num_seqs}
    missing = sorted(set(range(k_max + 1)) - used)
    top = max_num_seqs - len(missing) - 1  # the last batch size that is as wanted, but for N
    if top < 1:
        raise ValueError(
            f"max_num_seqs={max_num_seqs} has no room for {len(missing)} more values of k: lower k_max to at most "
            f"{max(1, max_num_seqs - 2)}, or raise max_num_seqs"
        )
    if not missing:
        return _clipped(wanted, max_num_seqs)
    kept = _clipped(wanted, top)
    lost = {k for _, _, k in wanted} & used - {k for _, _, k in kept} - {k_at(wanted, max_num_seqs)}
    if lost:
        raise ValueError(
            f"the wanted k={min(lost)} lies only at batch sizes above {top}, where the other values of k need room: "
            "widen its range downwards"
        )
    extra = tuple((top + 1 + index, top + 1 + index, k) for index, k in enumerate(missing))
    saturation = k_at(wanted, max_num_seqs)
    assert saturation is not None
    return (*kept, *extra, (max_num_seqs, max_num_seqs, saturation))


def _clipped(schedule: Schedule, top: int) -> Schedule:
    """The schedule up to one batch size; the last range reaches it, as vLLM's tail would."""
    inside = [each for each in schedule if each[0] <= top]
    low, _, k = inside[-1]
    return (*inside[:-1], (low, top, k))

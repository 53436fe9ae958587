"""Why a pass ended as it did: one closed list, used in the log, the table, the JSON, the metrics and the runbooks."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """The name of every outcome. The value is stable: alerts and runbooks are written against it."""

    # what was decided
    FASTER_K = "faster_k"
    SPECULATION_LOSES = "speculation_loses"
    BEST_ALREADY = "best_already"
    GAIN_BELOW_MINIMUM = "gain_below_minimum"
    GAIN_UNCERTAIN = "gain_uncertain"
    COOLDOWN = "cooldown"
    # why nothing could be decided
    WARMING_UP = "warming_up"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"
    IDLE = "idle"
    NOTHING_DRAFTED = "nothing_drafted"
    NO_SPECULATION = "no_speculation"
    COUNTERS_DISAGREE = "counters_disagree"
    K_IMPOSSIBLE = "k_impossible"
    # why a page could not be had, or could not be believed
    SERVER_UNREACHABLE = "server_unreachable"
    SERVER_TIMEOUT = "server_timeout"
    SERVER_REDIRECTS = "server_redirects"
    SERVER_REFUSES = "server_refuses"
    SERVER_ERROR = "server_error"
    TLS_FAILED = "tls_failed"
    NOT_METRICS = "not_metrics"
    NOT_VLLM = "not_vllm"
    PAGE_EMPTY = "page_empty"
    PAGE_CUT = "page_cut"
    PAGE_TOO_LARGE = "page_too_large"
    BAD_SAMPLE = "bad_sample"
    SERVER_RESTARTED = "server_restarted"
    CLOCK_JUMPED = "clock_jumped"
    FILE_UNREADABLE = "file_unreadable"


MEANING: Final[dict[Reason, str]] = {
    Reason.FASTER_K: "another k is faster, and the lower bound of the gain clears the minimum",
    Reason.SPECULATION_LOSES: "no speculation (k=0) is faster than any draft at this load",
    Reason.BEST_ALREADY: "the present k is the best one",
    Reason.GAIN_BELOW_MINIMUM: "another k looks faster, but by less than the minimum gain",
    Reason.GAIN_UNCERTAIN: "another k looks faster, but the lower bound of the gain does not clear the minimum",
    Reason.COOLDOWN: "the last change is too recent",
    Reason.WARMING_UP: "the first page of this server: two are needed for a window",
    Reason.NOT_ENOUGH_EVIDENCE: "too few drafts were verified to judge",
    Reason.IDLE: "no tokens were decoded in the window",
    Reason.NOTHING_DRAFTED: "tokens were decoded, but nothing was drafted, so nothing can be learned of acceptance",
    Reason.NO_SPECULATION: "the server shows no speculative-decoding counters",
    Reason.COUNTERS_DISAGREE: "the server's own counters contradict each other",
    Reason.K_IMPOSSIBLE: "the stated k is beyond the server's num_speculative_tokens",
    Reason.SERVER_UNREACHABLE: "no connection to the server",
    Reason.SERVER_TIMEOUT: "the server did not answer in time",
    Reason.SERVER_REDIRECTS: "the server redirects, and redirects are not followed",
    Reason.SERVER_REFUSES: "the server refuses the credentials, or wants some",
    Reason.SERVER_ERROR: "the server answered with an error status",
    Reason.TLS_FAILED: "the server's certificate could not be verified",
    Reason.NOT_METRICS: "the answer is not a metrics page",
    Reason.NOT_VLLM: "a metrics page, but not of a vLLM server",
    Reason.PAGE_EMPTY: "the page is empty",
    Reason.PAGE_CUT: "the page ends early",
    Reason.PAGE_TOO_LARGE: "the page is larger than the limit",
    Reason.BAD_SAMPLE: "a sample on the page is not a possible value",
    Reason.SERVER_RESTARTED: "a counter fell: the server restarted inside the window",
    Reason.CLOCK_JUMPED: "the clock did not move forward between two pages",
    Reason.FILE_UNREADABLE: "a saved page could not be read",
}
"""One clause for each reason, for documents and help; the sentence of a decision adds the numbers."""

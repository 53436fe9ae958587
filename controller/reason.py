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
    OTHER_BATCHES = "other_batches"
    TARGET_MET = "target_met"
    EXPLORING = "exploring"
    PROBING_OUT_OF_K0 = "probing_out_of_k0"
    PROBE_ENDED = "probe_ended"
    REALISED_WORSE = "realised_worse"
    FROZEN = "frozen"
    STOOD_DOWN = "stood_down"
    # why nothing could be decided
    WARMING_UP = "warming_up"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"
    IDLE = "idle"
    NOTHING_DRAFTED = "nothing_drafted"
    NO_SPECULATION = "no_speculation"
    COUNTERS_DISAGREE = "counters_disagree"
    K_IMPOSSIBLE = "k_impossible"
    # why a pass went wrong in here
    DEFECT = "defect"
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
    # why a store of metrics could not be asked, or its answer could not be used
    STORE_UNREACHABLE = "store_unreachable"
    STORE_TIMEOUT = "store_timeout"
    STORE_REFUSES = "store_refuses"
    STORE_ERROR = "store_error"
    STORE_ANSWER_BAD = "store_answer_bad"
    STORE_LIMIT = "store_limit"
    QUERY_REFUSED = "query_refused"
    ANSWER_PARTIAL = "answer_partial"
    NOTHING_MATCHES = "nothing_matches"
    SAMPLES_OLD = "samples_old"
    NO_NEW_SAMPLES = "no_new_samples"
    SERIES_SHARED = "series_shared"
    LABELS_MISSING = "labels_missing"
    OTHER_K_MAX = "other_k_max"
    SCRAPED_TWICE = "scraped_twice"
    TOO_MANY_GROUPS = "too_many_groups"
    # why the engine plugin could not be asked, or did not do it
    PLUGIN_MISSING = "plugin_missing"
    PLUGIN_READ_ONLY = "plugin_read_only"
    PLUGIN_REFUSES = "plugin_refuses"
    PLUGIN_CONFLICT = "plugin_conflict"
    PLUGIN_REJECTS = "plugin_rejects"
    PLUGIN_ANSWER_BAD = "plugin_answer_bad"
    PLUGIN_UNREACHABLE = "plugin_unreachable"
    NOT_APPLIED = "not_applied"
    # why the workload could not be rolled
    ROLLOUT_IMPOSSIBLE = "rollout_impossible"
    ROLLOUT_REFUSED = "rollout_refused"
    ROLLOUT_REVERTED = "rollout_reverted"
    ROLLOUT_FAILED = "rollout_failed"
    KUBERNETES_UNREACHABLE = "kubernetes_unreachable"
    # why what was learnt could not be kept
    CHECKPOINT_UNUSABLE = "checkpoint_unusable"
    CHECKPOINT_NOT_SAVED = "checkpoint_not_saved"


MEANING: Final[dict[Reason, str]] = {
    Reason.FASTER_K: "another k is faster: the lower bound of the gain clears the minimum; or, after three "
    "windows of a probe, the gain itself does and its lower bound is a loss of no more than that",
    Reason.SPECULATION_LOSES: "no speculation (k=0) is faster at this load, by the same rule",
    Reason.BEST_ALREADY: "the present k is the best one",
    Reason.GAIN_BELOW_MINIMUM: "another k looks faster, but by less than the minimum gain",
    Reason.GAIN_UNCERTAIN: "another k looks faster, but the lower bound of the gain does not clear the minimum",
    Reason.COOLDOWN: "the last change is too recent",
    Reason.OTHER_BATCHES: "the k at the present load stays; another batch size gets a better one",
    Reason.TARGET_MET: "the latency target is met with the fewest drafts that do",
    Reason.EXPLORING: "another k may be faster: it runs for a few windows to measure it",
    Reason.PROBING_OUT_OF_K0: "nothing is drafted, so nothing is learnt: a short probe tells whether it pays again",
    Reason.PROBE_ENDED: "the measured k did not prove faster: back to the one before",
    Reason.REALISED_WORSE: "the last change made serving slower than before: it is taken back",
    Reason.FROZEN: "changes are frozen by the operator",
    Reason.STOOD_DOWN: "somebody else returned the engine to its launch schedule: adaptive-k keeps out for a while",
    Reason.WARMING_UP: "the first page of this server: two are needed for a window",
    Reason.NOT_ENOUGH_EVIDENCE: "too few drafts were verified to judge",
    Reason.IDLE: "no tokens were decoded in the window",
    Reason.NOTHING_DRAFTED: "tokens were decoded, but nothing was drafted, so nothing can be learned of acceptance",
    Reason.NO_SPECULATION: "the server shows no speculative-decoding counters",
    Reason.COUNTERS_DISAGREE: "the server's own counters contradict each other",
    Reason.K_IMPOSSIBLE: "the stated k is beyond the server's num_speculative_tokens",
    Reason.DEFECT: "a fault of adaptive-k itself; what it learnt of that engine is learnt anew",
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
    Reason.STORE_UNREACHABLE: "no connection to Prometheus, or it broke",
    Reason.STORE_TIMEOUT: "Prometheus did not answer in time, or gave the query up",
    Reason.STORE_REFUSES: "Prometheus, or what stands before it, refuses the credentials or wants some",
    Reason.STORE_ERROR: "Prometheus answered with an error status",
    Reason.STORE_ANSWER_BAD: "the answer is not one of the Prometheus API",
    Reason.STORE_LIMIT: "the query would load more than Prometheus or we allow",
    Reason.QUERY_REFUSED: "Prometheus does not understand the query: the selector is wrong",
    Reason.ANSWER_PARTIAL: "Prometheus warns that its answer may lack something; it is used, and marked",
    Reason.NOTHING_MATCHES: "the selector matches no vLLM server",
    Reason.SAMPLES_OLD: "the newest samples are too old: scraping stopped, or clocks differ",
    Reason.NO_NEW_SAMPLES: "the server was not scraped since the last pass",
    Reason.SERIES_SHARED: "two servers write the same series",
    Reason.LABELS_MISSING: "series lack a label that is needed: model_name, or one of those to group by",
    Reason.OTHER_K_MAX: "the replica runs another num_speculative_tokens than most of its group",
    Reason.SCRAPED_TWICE: "the same server is scraped twice, under different labels: it counts once",
    Reason.TOO_MANY_GROUPS: "there are more groups than are told apart",
    Reason.PLUGIN_MISSING: "the server does not have the engine plugin",
    Reason.PLUGIN_READ_ONLY: "the engine plugin says that k cannot be changed on this server",
    Reason.PLUGIN_REFUSES: "the engine plugin refuses the token, or has none",
    Reason.PLUGIN_CONFLICT: "somebody else holds a schedule, or changed it in between",
    Reason.PLUGIN_REJECTS: "the engine plugin cannot run the wanted schedule",
    Reason.PLUGIN_ANSWER_BAD: "the answer is not one of the engine plugin, or of another version",
    Reason.PLUGIN_UNREACHABLE: "the engine plugin did not answer",
    Reason.NOT_APPLIED: "the engine runs another k than its schedule says",
    Reason.ROLLOUT_IMPOSSIBLE: "the workload as it is cannot be rolled to another k",
    Reason.ROLLOUT_REFUSED: "the Kubernetes API server does not let the workload be changed",
    Reason.ROLLOUT_REVERTED: "somebody else wrote the speculative config that was rolled out",
    Reason.ROLLOUT_FAILED: "the workload does not come up, although its former config is back",
    Reason.KUBERNETES_UNREACHABLE: "the Kubernetes API server did not answer as it should, or asks for patience",
    Reason.CHECKPOINT_UNUSABLE: "the checkpoint could not be read: what was learnt before is lost",
    Reason.CHECKPOINT_NOT_SAVED: "the checkpoint could not be written: a restart would forget what was learnt",
}
"""One clause for each reason, for documents and help; the sentence of a decision adds the numbers."""

DECIDED: Final = (
    Reason.FASTER_K, Reason.SPECULATION_LOSES, Reason.BEST_ALREADY, Reason.GAIN_BELOW_MINIMUM, Reason.GAIN_UNCERTAIN,
    Reason.COOLDOWN, Reason.OTHER_BATCHES, Reason.TARGET_MET, Reason.EXPLORING, Reason.PROBING_OUT_OF_K0,
    Reason.PROBE_ENDED, Reason.REALISED_WORSE, Reason.FROZEN, Reason.STOOD_DOWN, Reason.WARMING_UP,
    Reason.NOT_ENOUGH_EVIDENCE, Reason.IDLE, Reason.NOTHING_DRAFTED, Reason.NO_SPECULATION,
)  # fmt: skip
"""The reasons of decisions."""
ACTING_FAILED: Final = (
    Reason.PLUGIN_MISSING, Reason.PLUGIN_READ_ONLY, Reason.PLUGIN_REFUSES, Reason.PLUGIN_CONFLICT,
    Reason.PLUGIN_REJECTS, Reason.PLUGIN_ANSWER_BAD, Reason.PLUGIN_UNREACHABLE, Reason.NOT_APPLIED,
    Reason.ROLLOUT_IMPOSSIBLE, Reason.ROLLOUT_REFUSED, Reason.ROLLOUT_REVERTED, Reason.ROLLOUT_FAILED,
    Reason.KUBERNETES_UNREACHABLE,
)  # fmt: skip
"""The reasons why the engine plugin or the Kubernetes API server could not be asked, or did not do it."""
KEEPING_FAILED: Final = (Reason.CHECKPOINT_UNUSABLE, Reason.CHECKPOINT_NOT_SAVED)
"""The reasons why what was learnt could not be kept; only the log has them."""
OBSERVING_FAILED: Final = tuple(each for each in Reason if each not in {*DECIDED, *ACTING_FAILED, *KEEPING_FAILED})
"""The reasons why a page or a window could not be used."""

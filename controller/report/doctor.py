"""The doctor's findings: what a server is, what can be done with it, and the exact fix where something is wrong."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.model.drafter import FIXED_K, METHODS, Drafting, Method
from controller.observe.errors import ObserveError
from controller.observe.inspect import Identity, Launch
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation
from controller.plain import plain
from controller.reason import Reason

DYNAMIC_SINCE: Final = (0, 24)
"""vLLM's first version with `num_speculative_tokens_per_batch_size`."""


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact, and what to do about it; nothing to do when `fix` is empty."""

    level: Level
    topic: str
    text: str
    fix: str = ""


def examine(
    identity: Identity | ObserveError,
    snapshots: tuple[Snapshot, ...] | ObserveError,
    plugin: Speculation | ObserveError | None,
) -> tuple[Finding, ...]:
    """Findings from what the server says of itself, from its metrics page, and from its plugin.

    Or from why these cannot be had; the plugin of a server that cannot be reached is not asked.
    """
    findings = []
    if isinstance(identity, ObserveError):
        findings.append(Finding(Level.PROBLEM, "server", identity.message))
    else:
        findings += [_version(identity), _models(identity)]
    if isinstance(snapshots, ObserveError):
        if not isinstance(identity, ObserveError):  # one cause, one finding
            findings.append(Finding(Level.PROBLEM, "metrics", snapshots.message))
        return tuple(findings)
    launch = None if isinstance(identity, ObserveError) else identity.launch
    findings += [_speculation(snapshots, launch), _engines(snapshots, launch)]
    if not isinstance(identity, ObserveError):
        findings += _launch(launch, _k_max(snapshots), identity.version)
    if plugin is not None:
        findings.append(_live_control(plugin))
    return tuple(findings)


def text(findings: tuple[Finding, ...]) -> str:
    """The findings as people read them; levels are words, not colours."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.value:8} {finding.topic}: {plain(finding.text, 1000)}")
        if finding.fix:
            lines.append(f"{'':8} -> {finding.fix}")
    return "\n".join(lines)


def _version(identity: Identity) -> Finding:
    if identity.version is None:
        return Finding(
            Level.WARNING,
            "version",
            "the server does not answer /version: it may not be vLLM's API server, or a proxy stands in front.",
            "give the address of vLLM itself.",
        )
    if _parsed(identity.version) < DYNAMIC_SINCE:
        return Finding(
            Level.WARNING,
            "version",
            f"vLLM {identity.version}: no schedule of k by batch size (that came with 0.24), only one fixed k.",
            "recommendations hold; to use the schedule, upgrade vLLM.",
        )
    return Finding(Level.OK, "version", f"vLLM {identity.version}: schedules of k by batch size are supported.")


def _models(identity: Identity) -> Finding:
    if identity.models is None:
        return Finding(Level.NOTE, "models", "the list of models wants vLLM's API key; nothing here depends on it.")
    return Finding(Level.OK, "models", ", ".join(identity.models) or "none")


def _k_max(snapshots: tuple[Snapshot, ...]) -> int | None:
    return next((snapshot.k_max for snapshot in snapshots if snapshot.k_max is not None), None)


def _speculation(snapshots: tuple[Snapshot, ...], launch: Launch | None) -> Finding:
    k_max = _k_max(snapshots)
    if k_max is None:
        return Finding(
            Level.PROBLEM,
            "speculation",
            "the server shows no speculative-decoding counters: it was launched without speculation.",
            "launch it with --speculative-config; `controller launch-config` prints one.",
        )
    method = f", method {launch.method}" if launch and launch.method else ""
    return Finding(Level.OK, "speculation", f"k is at most {k_max}{method}.")


def _engines(snapshots: tuple[Snapshot, ...], launch: Launch | None) -> Finding:
    names = ", ".join(f"{snapshot.model_name} engine {snapshot.engine}" for snapshot in snapshots)
    parallel = launch.data_parallel_size if launch else None
    if (parallel or 1) > 1 or len({snapshot.engine for snapshot in snapshots}) > 1:
        return Finding(
            Level.WARNING,
            "engines",
            f"{names}: under data parallelism vLLM ignores a schedule of k by batch size.",
            "use the recommended k for the present load as the one num_speculative_tokens.",
        )
    return Finding(Level.OK, "engines", names or "none")


def _launch(launch: Launch | None, k_max: int | None, version: str | None) -> list[Finding]:
    if launch is None:
        return [
            Finding(
                Level.NOTE,
                "launch settings",
                "the server does not show them, so the method and max_num_seqs are not known here.",
                "give --method and --max-num-seqs to `recommend` and `run`. (VLLM_SERVER_DEV_MODE=1 would show them, "
                "together with dangerous endpoints: only where no client can reach the server.)",
            )
        ]
    findings = [_method(launch, version)] if launch.method else []
    if launch.max_num_seqs is not None:
        findings.append(
            Finding(
                Level.OK,
                "batch",
                f"max_num_seqs is {launch.max_num_seqs}.",
                f"pass --max-num-seqs {launch.max_num_seqs}.",
            )
        )
    if launch.adaptive_verification:
        findings.append(
            Finding(
                Level.WARNING,
                "adaptive verification",
                "vLLM itself shortens what it verifies, and counts the whole k as drafted: acceptance looks low.",
                "read the margin and k_max from adaptive-k, and leave k to vLLM.",
            )
        )
    if launch.schedule:
        findings.append(Finding(Level.OK, "schedule", f"launched with {[list(each) for each in launch.schedule]}."))
    findings += _graphs(launch, k_max)
    return findings


def _method(launch: Launch, version: str | None) -> Finding:
    method = launch.method or ""
    if method in FIXED_K:
        return Finding(
            Level.WARNING,
            "method",
            f"{method} asserts that k never changes (seen in vLLM 0.32; this is {version or 'an unknown version'}): "
            "a schedule of k by batch size stops the engine.",
            "use one fixed num_speculative_tokens: the recommended k for the usual load.",
        )
    if method not in METHODS:
        return Finding(
            Level.NOTE,
            "method",
            f"{method} is not known to adaptive-k: broad priors are used.",
            "leave --method out.",
        )
    if METHODS[Method(method)].drafting is Drafting.VARIABLE:
        return Finding(
            Level.OK,
            "method",
            f"{method} drafts fewer than k, or nothing: the counters do not show the k in force.",
            f"pass --method {method} and --k.",
        )
    return Finding(Level.OK, "method", f"{method} always drafts k.", f"pass --method {method}.")


def _live_control(plugin: Speculation | ObserveError) -> Finding:
    """Never a problem: recommending needs no plugin."""
    topic, document = "live control", "see docs/engine-plugin.md."
    if isinstance(plugin, Speculation):
        if plugin.writable:
            return Finding(
                Level.OK,
                topic,
                "the engine plugin answers: k can be changed while the server runs.",
                "controller run --mode apply --plugin-token-file FILE",
            )
        why = (plugin.read_only_because or "no reason is given").rstrip(".")
        return Finding(Level.NOTE, topic, f"the engine plugin answers, but k cannot be changed: {why}.", document)
    if plugin.reason is Reason.PLUGIN_MISSING:
        return Finding(Level.NOTE, topic, "the engine plugin is not installed: k can be recommended only.", document)
    if plugin.reason is Reason.PLUGIN_REFUSES:
        return Finding(
            Level.NOTE,
            topic,
            "the path of the engine plugin is guarded, and the plugin itself lets everybody read: something stands in "
            "front of the server.",
            "give the address of vLLM itself.",
        )
    return Finding(Level.NOTE, topic, plugin.message)


def _graphs(launch: Launch, k_max: int | None) -> list[Finding]:
    limit, seqs = launch.capture_limit_tokens, launch.max_num_seqs
    if launch.enforce_eager or not limit or not seqs or k_max is None or seqs * (k_max + 1) <= limit:
        return []
    return [
        Finding(
            Level.WARNING,
            "CUDA graphs",
            f"steps above {limit} tokens have no captured graph: at k={k_max} that is a batch above "
            f"{limit // (k_max + 1)}, and such a step may cost several times more.",
            f"raise --max-cudagraph-capture-size to {seqs * (k_max + 1)}, or run a smaller k at those batches.",
        )
    ]


def _parsed(version: str) -> tuple[int, int]:
    """The first two numbers of a version.

    >>> _parsed("0.32.1rc2"), _parsed("dev")
    ((0, 32), (0, 0))
    """
    match = re.match(r"v?(\d{1,6})\.(\d{1,6})", version)  # of a thousand digits int() makes no number
    return (int(match[1]), int(match[2])) if match else (0, 0)

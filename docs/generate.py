"""Write the documents that are made from declarations: `make docs`. A test fails while they are stale."""  # noqa: INP001

import runpy
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from controller.flags import SHORT, default_text, describe
from controller.options.base import ENV_PREFIX
from controller.reason import ACTING_FAILED, DECIDED, KEEPING_FAILED, MEANING, OBSERVING_FAILED, Reason
from controller.serve.telemetry_state import OUTCOMES, STALE_SECONDS
from controller.serve.telemetry_table import FAMILIES, LABELS
from controller.settings import CONFIG_ENV, VERBS
from controller.simulator.scenario_document import schema_text

FOLDER: Final = Path(__file__).parent
NOTE: Final = "<!-- made by docs/generate.py: edit the declarations, then run `make docs` -->"


def documents() -> dict[Path, str]:
    """Every generated document and its text."""
    return {
        FOLDER / "configuration.md": _text(_configuration()),
        FOLDER / "metrics.md": _text(_metrics()),
        FOLDER / "reasons.md": _text(_reasons()),
        FOLDER / "reliability.md": _text(_reliability()),
        FOLDER.parent / "benchmarks" / "scenario.schema.json": schema_text(),
    } | _chart()


def _chart() -> dict[Path, str]:
    """Values, schema and tables of the Helm chart, which are declared beside it."""
    declared = runpy.run_path(str(FOLDER.parent / "helm" / "values.py"))
    found: dict[Path, str] = declared["documents"]()
    return found


def _configuration() -> Iterator[str]:
    yield "# Configuration"
    yield NOTE
    yield (
        "Every option can be given as a flag, as an environment variable, or as a line of a YAML file "
        f"(`--config FILE`, or `{CONFIG_ENV}`), where it has the flag's name: `window-seconds: 60`. A flag wins over "
        "the environment, the environment over the file, the file over the default. An unknown variable or key is "
        "refused. Secrets come from files, never from options."
    )
    for verb, options in VERBS.items():
        yield f"\n## controller {verb}"
        yield (options.__doc__ or "").strip()
        rows = [
            (
                _flag(name),
                f"`{ENV_PREFIX}{name.upper()}`",
                describe(field),
                _code(default_text(field)),
                field.description,
            )
            for name, field in options.model_fields.items()
        ]
        if rows:
            yield ""
            yield from _table(("Flag", "Environment variable", "Type", "Default", "Meaning"), rows)


def _reasons() -> Iterator[str]:
    yield "# Reasons"
    yield NOTE
    yield (
        "Every pass ends with a reason from this list: in the log, the table, the JSON document and the metrics. The "
        "names are stable."
    )
    yield "\n## Decisions"
    yield "Counted in `adaptive_k_decisions_total{action, reason}`.\n"
    yield from _table(
        ("Reason", "Action", "Meaning"),
        ((_code(reason.value), _actions(reason), _sentence(reason)) for reason in DECIDED),
    )
    for title, text, reasons in (
        (
            "Failures of observing",
            "Counted in `adaptive_k_failures_total{reason}`; the last good decision stands.",
            OBSERVING_FAILED,
        ),
        (
            "Failures of acting",
            "Counted in `adaptive_k_actuation_failures_total{reason}`. A held schedule then runs out by itself.",
            ACTING_FAILED,
        ),
        ("Failures of keeping", "In the log only; deciding goes on.", KEEPING_FAILED),
    ):
        yield f"\n## {title}"
        yield f"{text}\n"
        yield from _table(("Reason", "Meaning"), ((_code(reason.value), _sentence(reason)) for reason in reasons))


def _reliability() -> Iterator[str]:
    sys.path.append(str(FOLDER.parent / "tests"))
    try:
        from faults.judge import family_of  # noqa: PLC0415  # of the tests, which no path leads to by itself
        from faults.matrix import ROWS  # noqa: PLC0415
        from faults.stage import INTERVAL_SECONDS, TTL_SECONDS  # noqa: PLC0415
    finally:
        sys.path.pop()
    yield "# Reliability"
    yield NOTE
    yield (
        "What can go wrong around a sidecar in apply mode, and what comes of it. Each line is a test in "
        "`tests/faults`: the whole of `controller run` with real sockets, port and files, beside a simulated server "
        "that hosts the real engine plugin, on a virtual clock. Here a pass comes every "
        f"{INTERVAL_SECONDS:g} s, and the time to live is {TTL_SECONDS} s. For every fault it holds that"
    )
    yield "- nothing is raised, no pass comes early, and `/livez` says yes throughout;"
    yield "- while no page can be used, `/recommendation` goes on to tell what was last good;"
    yield "- the engine never runs for longer than its time to live what nobody renewed;"
    yield "- every client of the model is served for as long as its engine runs, and nothing here restarts one;"
    yield "- the operator finds the fault by its reason, in log and metrics, and no other failure beside it;"
    yield "- all is as before by itself, after as many passes as the last column says, probes apart.\n"
    yield from _table(
        ("Fault", "What goes wrong", "Meanwhile", "What the operator sees", "Normal again"),
        (
            (row.name, row.happens, row.meanwhile.value, _seen(row.sees, family_of), _normal(row.normal_passes))
            for row in ROWS
        ),
    )
    yield (
        "\nKills beside a real vLLM server are in `tests/real_vllm/test_kills.py`, faults of the Kubernetes API server "
        "in `tests/contract/test_rollout_faults.py`. The message of each [reason](reasons.md) says what to do."
    )


def _seen(reasons: Iterable[Reason], family_of: Callable[[Reason], str | None]) -> str:
    """Each reason and where it is counted."""
    families = ((reason, family_of(reason)) for reason in reasons)
    words = (f"`{reason.value}` in {f'`{family}`' if family else 'the log'}" for reason, family in families)
    return "; ".join(words) or "nothing"


def _normal(passes: int) -> str:
    return {0: "always", 1: "in the next pass"}.get(passes, f"within {passes} passes")


def _metrics() -> Iterator[str]:
    yield "# Metrics"
    yield NOTE
    yield (
        "`controller run` serves these at `/metrics`. All values of a page are of the same pass. Ratios are from 0 to "
        "1, or around 1; `low` and `high` are 90% bounds; a time is a Unix timestamp. A series whose value is not "
        "known is left out, never 0 or NaN; so is a gauge of an engine that could not be judged for "
        f"{STALE_SECONDS / 60:g} minutes. Every label set of a counter exists from the start."
    )
    yield "\n## Series\n"
    yield from _table(
        ("Metric", "Type", "Unit", "Labels", "Meaning"),
        (
            (_code(each.name), each.kind.value, each.unit, ", ".join(map(_code, each.labels)), each.text)
            for each in FAMILIES
        ),
    )
    yield "\n## Labels\n"
    yield from _table(("Label", "Meaning"), ((_code(name), text) for name, text in LABELS.items()))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row(("---",) * len(head))
    yield from map(_row, rows)


def _row(cells: tuple[str | None, ...]) -> str:
    escaped = ((cell or "").replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _flag(name: str) -> str:
    flag = f"`--{name.replace('_', '-')}`"
    return f"{flag}, `{SHORT[name]}`" if name in SHORT else flag


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _actions(reason: Reason) -> str:
    return ", ".join(action.value for action, why in OUTCOMES if why is reason)


def _sentence(reason: Reason) -> str:
    meaning = MEANING[reason]
    return f"{meaning[0].upper()}{meaning[1:]}."


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

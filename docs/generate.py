"""Write the documents that are made from declarations: `make docs`. A test fails while they are stale."""  # noqa: INP001

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from controller.flags import SHORT, default_text, describe
from controller.reason import MEANING, Reason
from controller.serve.telemetry import FAILURES, OUTCOMES
from controller.settings import CONFIG_ENV, ENV_PREFIX, VERBS

FOLDER: Final = Path(__file__).parent
NOTE: Final = "<!-- made by docs/generate.py: edit the declarations, then run `make docs` -->"


def documents() -> dict[Path, str]:
    """Every generated document and its text."""
    return {
        FOLDER / "configuration.md": _text(_configuration()),
        FOLDER / "reasons.md": _text(_reasons()),
    }


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
        ((_code(reason.value), action.value, _sentence(reason)) for action, reason in OUTCOMES),
    )
    yield "\n## Failures"
    yield "Counted in `adaptive_k_failures_total{reason}`; the last good decision stands.\n"
    yield from _table(("Reason", "Meaning"), ((_code(reason.value), _sentence(reason)) for reason in FAILURES))


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


def _sentence(reason: Reason) -> str:
    meaning = MEANING[reason]
    return f"{meaning[0].upper()}{meaning[1:]}."


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, "utf-8")

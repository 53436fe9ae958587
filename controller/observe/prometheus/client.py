"""The HTTP API of Prometheus, which Thanos, Mimir and VictoriaMetrics speak too: bounded instant queries."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic_core import from_json

from controller.files import SECRET_BYTES_MAX, text_of
from controller.observe.errors import ObserveError, cause
from controller.observe.http import Fetcher, Peer
from controller.plain import plain
from controller.reason import Reason

PROMETHEUS: Final = Peer(
    name="Prometheus",
    address="that of its API, without /api/v1",
    limit_option="--answer-limit-bytes",
    timeout_option="--query-timeout-seconds",
    bearer_option="--token-file",
)
PATH: Final = "/api/v1/query"
LATEST_UNIX_SECONDS: Final = 2.0**33
"""In the year 2242. A store whose clock shows later ones has none."""
WARNINGS_MAX: Final = 3
"""Warnings of one answer that are kept."""
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_UNANSWERED: Final = {
    Reason.SERVER_UNREACHABLE: Reason.STORE_UNREACHABLE,
    Reason.PAGE_CUT: Reason.STORE_UNREACHABLE,
    Reason.SERVER_TIMEOUT: Reason.STORE_TIMEOUT,
    Reason.NOT_METRICS: Reason.STORE_ANSWER_BAD,
    Reason.PAGE_TOO_LARGE: Reason.STORE_LIMIT,
}
"""What a request that failed is called when it was to Prometheus; other reasons stay."""
_LIMIT: Final = re.compile(r"too many|too large|maximum|exceed|\blimit|maxSamples|cannot select more", re.IGNORECASE)
"""How Prometheus, Thanos, Mimir and VictoriaMetrics say that a query asks for too much."""
_TIMEOUT: Final = re.compile(r"timed? ?out|deadline exceeded|canceled", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Access:
    """What is sent with each query, files being read anew each time.

    Attributes:
        username_file: User of basic authentication; None without it.
        password_file: Its password.
        org_id: Tenant of a multi-tenant store, as `X-Scope-OrgID`; empty without one.
    """

    username_file: Path | None = None
    password_file: Path | None = None
    org_id: str = ""

    def headers(self) -> dict[str, str]:
        """The headers; raises `ObserveError` when a file cannot be used."""
        found = {"X-Scope-OrgID": self.org_id} if self.org_id else {}
        if self.username_file is not None and self.password_file is not None:
            pair = f"{_line(self.username_file, '--username-file')}:{_line(self.password_file, '--password-file')}"
            found["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return found


NO_ACCESS: Final = Access()


class Client:
    """One store of metrics."""

    def __init__(
        self, url: str, fetcher: Fetcher, access: Access = NO_ACCESS, query_timeout_seconds: float = 30.0
    ) -> None:
        """Asks for nothing yet.

        Args:
            url: Address of the API without `/api/v1`, such as `http://prometheus:9090` or `https://mimir/prometheus`.
            fetcher: Carries the queries, and the bearer token if there is one.
            access: What else is sent with each of them.
            query_timeout_seconds: When the store is to give a query up.
        """
        self.url = query_url(url)
        self._fetcher = fetcher
        self._access = access
        self._timeout = f"{query_timeout_seconds:g}s"

    def now(self) -> float:
        """The store's own clock, in Unix seconds: ours may differ."""
        _, found, _ = self.data(self.fetch("time()", None))
        try:
            seconds = float(found[0])
        except (TypeError, ValueError, LookupError) as error:
            raise self.bad("time() has no result") from error
        if not 0 <= seconds <= LATEST_UNIX_SECONDS:  # False for NaN, too
            raise self.bad(f"time() is {seconds:.4g}")
        return seconds

    def fetch(self, expression: str, at_unix_seconds: float | None) -> str:
        """The store's answer to an instant query, not read yet; at None by the store's clock.

        A range selector such as `up[5m]` gives raw samples with their own times.

        Raises:
            ObserveError: With the cause and the remedy.
        """
        form = {"query": expression, "timeout": self._timeout}
        if at_unix_seconds is not None:
            form["time"] = f"{at_unix_seconds:.3f}"
        try:
            headers = {**_FORM, **self._access.headers()}
            status, _, text = self._fetcher.exchange("POST", self.url, headers, urlencode(form).encode())
        except ObserveError as error:
            raise ObserveError(_UNANSWERED.get(error.reason, error.reason), error.message) from error
        if status != 200:
            raise self._refusal(status, text)
        return text

    def data(self, fetched: str) -> tuple[str, Any, tuple[str, ...]]:
        """What `fetch` gave: the type of the result, the result and the warnings; raises `ObserveError`."""
        beginning = f"it begins '{plain(fetched, 40)}'"
        try:
            document = from_json(fetched, cache_strings="keys")  # values rarely repeat
        except ValueError as error:
            raise self.bad(f"{beginning}, and is no JSON: {plain(str(error), 80)}") from error
        try:
            data = document["data"]
            warnings = tuple(plain(str(each), 200) for each in document.get("warnings") or ())[:WARNINGS_MAX]
            return str(data["resultType"]), data["result"], warnings
        except (TypeError, LookupError, AttributeError) as error:
            raise self.bad(beginning) from error

    def _refusal(self, status: int, text: str) -> ObserveError:
        """Why the store said no."""
        said = _said(text)
        if status in (401, 403):
            return ObserveError(
                Reason.STORE_REFUSES,
                f"{self.url} refuses access (status {status}{said}): give --token-file, or --username-file and "
                "--password-file, and --org-id where the store has tenants.",
            )
        if _LIMIT.search(said) and not _TIMEOUT.search(said):
            return ObserveError(
                Reason.STORE_LIMIT,
                f"{self.url} allows no query of this size (status {status}{said}): narrow --match, shorten the time "
                "that is asked for, or raise the store's limit.",
            )
        if _TIMEOUT.search(said) or status in (408, 504):
            return ObserveError(
                Reason.STORE_TIMEOUT,
                f"{self.url} gave the query up (status {status}{said}): narrow --match, or raise "
                "--query-timeout-seconds and the store's own limit.",
            )
        if status in (400, 422):
            return ObserveError(
                Reason.QUERY_REFUSED,
                f"{self.url} does not take the query (status {status}{said}): check --match, which is what stands "
                "between the braces of a selector.",
            )
        return ObserveError(
            Reason.STORE_ERROR,
            f"{self.url} answered with status {status}{said}: check that --prometheus-url is {PROMETHEUS.address}, "
            "and look at the store's log.",
        )

    def bad(self, what: str) -> ObserveError:
        """Why an answer cannot be used."""
        return ObserveError(
            Reason.STORE_ANSWER_BAD,
            f"{self.url} does not answer as Prometheus does ({what}): check that --prometheus-url is "
            f"{PROMETHEUS.address}, with no login page in front.",
        )


def query_url(url: str) -> str:
    """The address of instant queries for the address of a store.

    >>> query_url("https://mimir.example/prometheus/")
    'https://mimir.example/prometheus/api/v1/query'
    >>> query_url("http://127.0.0.1:9090/api/v1")
    'http://127.0.0.1:9090/api/v1/query'
    """
    parts = urlsplit(url)
    base = parts.path.rstrip("/").removesuffix(PATH).removesuffix("/api/v1")
    return urlunsplit((parts.scheme, parts.netloc, base + PATH, parts.query, ""))


def _said(text: str) -> str:
    """The store's own words, with what joins them to a sentence; some answer in plain text."""
    try:
        said = from_json(text)["error"]
    except (ValueError, KeyError, TypeError):
        said = "" if text.lstrip().startswith("<") else text
    return f": {plain(said.strip(), 200)}" if isinstance(said, str) and said.strip() else ""


def _line(path: Path, option: str) -> str:
    try:
        found = text_of(path, SECRET_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ObserveError(
            Reason.FILE_UNREADABLE,
            f"The file {path} cannot be read ({cause(error)}): give a readable one with {option}.",
        ) from error
    if not found or "\n" in found:
        raise ObserveError(
            Reason.FILE_UNREADABLE, f"The file {path} must hold one line: give such a one with {option}."
        )
    return found

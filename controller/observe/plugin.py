"""The engine plugin of a running server, read over HTTP."""

import json
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import TypeAdapter, ValidationError

from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.observe.speculation import TEXT_MAX, Measured, Speculation
from controller.plain import plain
from controller.reason import Reason

PATH: Final = "/adaptive-k/v1/speculation"
_HEADERS: Final = {"Accept": "application/json"}
PROTOCOL: Final = 1
_DOCUMENT: Final = TypeAdapter(Speculation)
_UNANSWERED: Final = {
    Reason.FILE_UNREADABLE: Reason.PLUGIN_REFUSES,  # without the token file nothing is sent
    Reason.NOT_METRICS: Reason.PLUGIN_ANSWER_BAD,
    Reason.PAGE_TOO_LARGE: Reason.PLUGIN_ANSWER_BAD,
}
"""What a request that failed is called when it was to the plugin; any other way is that it did not answer."""


class PluginSource:
    """The plugin's resource of one server."""

    def __init__(self, url: str, fetcher: Fetcher) -> None:
        """`url` is the server's address, `http://host:port`; the fetcher carries the plugin's token."""
        self.url = plugin_url(url)
        self._fetcher = fetcher

    def read(self) -> Speculation:
        """What is in force, and what was measured.

        Raises:
            ObserveError: With the cause and the remedy.
        """
        return ask(self._fetcher, "GET", self.url)


def ask(fetcher: Fetcher, method: str, url: str, document: dict[str, Any] | None = None) -> Speculation:
    """Send the plugin one request, with a document if there is one: its state afterwards.

    Raises:
        ObserveError: It was not reached, or it refused; with the cause and the remedy, under a reason of the plugin's.
    """
    headers = _HEADERS if document is None else {**_HEADERS, "Content-Type": "application/json"}
    body = None if document is None else json.dumps(document).encode()
    try:
        status, _, text = fetcher.exchange(method, url, headers, body)
    except ObserveError as error:
        raise ObserveError(_UNANSWERED.get(error.reason, Reason.PLUGIN_UNREACHABLE), error.message) from error
    if status != 200:
        raise refusal(status, text, url)
    return read_speculation(text, url)


def read_speculation(text: str, where: str) -> Speculation:
    """The plugin's document, checked.

    Raises:
        ObserveError: It is not one, or of a version that this sidecar does not speak.
    """
    try:
        found = _DOCUMENT.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, first["loc"])) or "the document"
        raise ObserveError(
            Reason.PLUGIN_ANSWER_BAD,
            f"{where} does not answer as the adaptive-k plugin does ({plain(at, 80)}: {plain(first['msg'], 120)}): "
            "check that the plugin in vLLM and this sidecar are of the same version.",
        ) from error
    if found.protocol != PROTOCOL:
        raise ObserveError(
            Reason.PLUGIN_ANSWER_BAD,
            f"{where} speaks protocol {found.protocol}, this sidecar speaks {PROTOCOL}: install the same version of "
            "both.",
        )
    return replace(
        found,
        owner=found.owner and plain(found.owner, TEXT_MAX),  # whole, for it is compared with our own
        method=found.method and plain(found.method),
        read_only_because=found.read_only_because and plain(found.read_only_because, 300),
        measured=found.measured and _with_plain_names(found.measured),
    )


def _with_plain_names(measured: Measured) -> Measured:
    """The names are what clients call themselves."""
    if all(plain(each.name, TEXT_MAX) == each.name for each in measured.workloads):
        return measured
    workloads = tuple(replace(each, name=plain(each.name, TEXT_MAX)) for each in measured.workloads)
    return replace(measured, workloads=workloads)


def plugin_url(url: str) -> str:
    """The address of the plugin's resource for the address of a server.

    >>> plugin_url("http://127.0.0.1:8000/metrics")
    'http://127.0.0.1:8000/adaptive-k/v1/speculation'
    """
    parts = urlsplit(url)
    base = parts.path.rstrip("/").removesuffix("/metrics")
    return urlunsplit((parts.scheme, parts.netloc, base + PATH, "", ""))


def refusal(status: int, text: str, url: str) -> ObserveError:
    """Why the plugin said no, in one sentence with the remedy."""
    said = _said(text)
    if status == 404:
        return ObserveError(
            Reason.PLUGIN_MISSING,
            f"{url} is not there (status 404): install the plugin adaptive-k-vllm beside vLLM and name adaptive_k in "
            "VLLM_PLUGINS (see docs/engine-plugin.md), or use --mode recommend.",
        )
    if status in (401, 403):
        return ObserveError(
            Reason.PLUGIN_REFUSES,
            f"The plugin refuses the token (status {status}: {said}): --plugin-token-file here and AK_VLLM_TOKEN_FILE "
            "in vLLM must hold the same token.",
        )
    reason = {409: Reason.PLUGIN_CONFLICT, 413: Reason.PLUGIN_REJECTS, 422: Reason.PLUGIN_REJECTS}.get(
        status, Reason.PLUGIN_UNREACHABLE
    )
    return ObserveError(reason, f"The plugin at {url} answered with status {status}: {said}.")


def _said(text: str) -> str:
    """The plugin's own sentence."""
    try:
        said = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = None
    return plain(said, 300).rstrip(".") if isinstance(said, str) and said.strip() else "no reason given"

"""The Kubernetes API server over HTTP: five kinds of request, each bounded in time and size."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import requests
import urllib3

from controller.act.rollout.body import body_of
from controller.act.rollout.result import RolloutOutcome, RolloutStop
from controller.act.rollout.session import Session
from controller.clock import Clock
from controller.files import SECRET_BYTES_MAX, text_of
from controller.observe.errors import cause
from controller.observe.secret import without_escaped_secret
from controller.plain import plain

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FIELD_MANAGER: Final = "adaptive-k"
JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
CHUNK_BYTES: Final = 64 * 1024
LIMIT_BYTES: Final = 8 * 1024 * 1024
"""etcd holds at most 1.5 MiB an object."""
RETRY_SECONDS: Final = 10.0
"""When the API server asks for patience and does not say how much."""
RETRY_SECONDS_MAX: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where the API server is, and who we are to it.

    Attributes:
        url: Its address, without a path.
        token_file: The service account's token; read anew for every request, since the kubelet rotates it.
        ca_file: PEM bundle of its certificate authority.
        timeout_seconds: For the connection, for each read, and for a whole body together.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_seconds: float = 5.0


def in_cluster(environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> ApiServer:
    """The API server as every pod with a service account finds it.

    Raises:
        RolloutStop: This is no pod, or one without a service-account token.
    """
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    token = service_account / "token"
    if not host or not token.exists():
        raise RolloutStop(
            RolloutOutcome.UNAUTHENTICATED,
            "No API server: this is not a pod with a service account (KUBERNETES_SERVICE_HOST and "
            f"{token} are looked for). Mount its token into adaptive-k's container alone, as the chart does "
            "(docs/rollout.md).",
        )
    address = f"[{host}]" if ":" in host else host
    return ApiServer(f"https://{address}:{port}", token, service_account / "ca.crt")


class WatchExpired(Exception):  # noqa: N818  # expected in the course of things
    """The API server no longer knows the resourceVersion (410 Gone): read the object anew."""


class KubernetesApi:
    """Sends one request at a time; keeps no connection and no state."""

    def __init__(self, clock: Clock, server: ApiServer) -> None:
        """Connects to nothing yet."""
        self._clock = clock
        self._server = server
        self._session = Session()
        self._session.trust_env = False  # the API server is never behind a proxy of the environment
        self._session.verify = str(server.ca_file) if server.ca_file else True
        self._session.headers.update(
            {
                "User-Agent": FIELD_MANAGER,
                "Accept": JSON,
                "Accept-Encoding": "identity",  # a small compressed body could unpack to any size
                "Connection": "close",
            }
        )

    def get(self, path: str) -> dict[str, Any]:
        """The object as the API server's storage has it now.

        Raises:
            RolloutStop: Here and in every other request: with the cause and the remedy.
        """
        return self._send("GET", path, {})

    def find(self, path: str) -> dict[str, Any] | None:
        """The object, or None when there is none."""
        try:
            return self._send("GET", path, {})
        except RolloutStop as stop:
            if stop.outcome is RolloutOutcome.NOT_FOUND:
                return None
            raise

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST to a collection."""
        return self._send("POST", path, {"fieldManager": FIELD_MANAGER}, body)

    def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT; the body's metadata.resourceVersion makes it conditional."""
        return self._send("PUT", path, {"fieldManager": FIELD_MANAGER}, body)

    def patch(self, path: str, operations: tuple[dict[str, Any], ...], *, dry_run: bool = False) -> dict[str, Any]:
        """A JSON patch, applied whole or not at all; a dry run is judged by the API server, and not stored."""
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return self._send("PATCH", path, query, list(operations), JSON_PATCH)

    def watch(self, collection: str, name: str, resource_version: str, seconds: float) -> Iterator[dict[str, Any]]:
        """The object whenever it changes, for at most so many seconds.

        Raises:
            WatchExpired: The resourceVersion is too old.
            RolloutStop: As `get`; a connection that is cut ends the watch and nothing more.
        """
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        for line in self._lines(f"{collection}?{urlencode(query)}", seconds):
            kind, found = _event(line)
            if kind == "ERROR":
                if found.get("code") == requests.codes.gone:
                    raise WatchExpired
                return
            if kind in ("ADDED", "MODIFIED"):
                yield found
            if kind == "DELETED":
                return

    def _lines(self, path: str, seconds: float) -> Iterator[bytes]:
        """The lines of an answer as they arrive; nothing more once the time is over, or the connection is gone."""
        kept = b""
        deadline = self._clock.monotonic_seconds() + seconds
        try:
            with self._session, self._open("GET", path, None, None, max(1.0, seconds)) as response:
                if response.status_code == requests.codes.gone:
                    raise WatchExpired
                self._refuse_status(response, "GET", path)
                while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                    *lines, kept = (kept + chunk).split(b"\n")
                    yield from lines
                    if len(kept) > LIMIT_BYTES:
                        raise self._too_large(path)
                    if self._clock.monotonic_seconds() > deadline:
                        return
        except (OSError, urllib3.exceptions.HTTPError):  # the errors of requests are OSErrors
            return  # a watch only saves waiting: what it misses is read at the next pass

    def _send(
        self, method: str, path: str, query: dict[str, str], body: Any = None, content_type: str = JSON
    ) -> dict[str, Any]:
        address = f"{path}?{urlencode(query)}" if query else path
        try:
            with (
                self._session,
                self._open(method, address, body, content_type, self._server.timeout_seconds) as response,
            ):
                text = b"".join(self._chunks(response, path))
                self._refuse_status(response, method, path, text)
            found = json.loads(text)
        except requests.exceptions.SSLError as error:
            raise RolloutStop(
                RolloutOutcome.API_UNREACHABLE,
                f"The certificate of the API server {self._server.url} cannot be verified: check the CA file.",
            ) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._unreachable(method, error) from error
        except (ValueError, RecursionError) as error:
            raise RolloutStop(
                RolloutOutcome.API_ERROR, f"The answer of {self._server.url} to {method} {path} is not JSON: check it."
            ) from error
        except OSError as error:
            raise RolloutStop(
                RolloutOutcome.API_UNREACHABLE, f"The CA file {self._server.ca_file} cannot be read: check it."
            ) from error
        if not isinstance(found, dict):
            raise RolloutStop(RolloutOutcome.API_ERROR, f"The answer to {method} {path} is not an object.")
        return found

    def _open(
        self, method: str, path: str, body: Any, content_type: str | None, timeout_seconds: float
    ) -> requests.Response:
        headers = self._authorization()
        data = None
        if body is not None:
            headers["Content-Type"] = content_type or JSON
            data = body_of(body)
        return self._session.request(
            method, self._server.url + path, data=data, headers=headers, stream=True, timeout=timeout_seconds
        )

    def _authorization(self) -> dict[str, str]:
        if self._server.token_file is None:
            return {}
        try:
            token = text_of(self._server.token_file, SECRET_BYTES_MAX).strip()
        except (OSError, UnicodeDecodeError) as error:
            token, why = "", cause(error)
        else:
            why = "it holds no token"
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise RolloutStop(
                RolloutOutcome.UNAUTHENTICATED,
                f"The token file {self._server.token_file} cannot be used ({why}): mount the service account's token.",
            )
        return {"Authorization": f"Bearer {token}"}

    def _chunks(self, response: requests.Response, path: str) -> Iterator[bytes]:
        """The body as it arrives: a server that drips bytes meets the deadline all the same."""
        deadline = self._clock.monotonic_seconds() + self._server.timeout_seconds
        size = 0
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if size > LIMIT_BYTES:
                raise self._too_large(path)
            if self._clock.monotonic_seconds() > deadline:
                raise requests.exceptions.Timeout
            yield chunk

    def _unreachable(self, method: str, error: Exception) -> RolloutStop:
        slow = isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError))
        why = f"no answer within {self._server.timeout_seconds:g} s" if slow else cause(error)
        unknown = (
            "" if method == "GET" else " It is not known whether the request was carried out; the next pass looks."
        )
        return RolloutStop(
            RolloutOutcome.API_UNREACHABLE,
            f"The API server {self._server.url} cannot be reached ({why}): look at its health and at the network "
            f"policies.{unknown}",
        )

    def _too_large(self, path: str) -> RolloutStop:
        return RolloutStop(RolloutOutcome.API_ERROR, f"The answer to {path} is larger than {LIMIT_BYTES} bytes.")

    def _refuse_status(self, response: requests.Response, method: str, path: str, body: bytes = b"") -> None:
        if response.status_code < 300:
            return
        text = without_escaped_secret(body.decode("utf-8", "replace"), response.request.headers.get("Authorization"))
        raise _refusal(response, f"{method} {path.partition('?')[0]}", _status(text))


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    """One line of a watch; anything that is no event counts as an error of the watch."""
    try:
        found = json.loads(line)
        kind, thing = found["type"], found["object"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "ERROR", {}
    return (kind, thing) if isinstance(thing, dict) else ("ERROR", {})


def _status(body: str) -> dict[str, Any]:
    """The API server's Status object; empty when the answer is something else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


_REMEDIES: Final[dict[int, tuple[RolloutOutcome, str]]] = {
    401: (RolloutOutcome.UNAUTHENTICATED, "check that the service account's token is mounted and not expired"),
    403: (RolloutOutcome.FORBIDDEN, "grant it in the Role, see docs/rollout.md"),
    404: (RolloutOutcome.NOT_FOUND, "check namespace, kind and name"),
    409: (RolloutOutcome.CHANGED_MEANWHILE, "somebody else wrote it meanwhile; the next pass looks anew"),
}


def _refusal(response: requests.Response, request: str, status: dict[str, Any]) -> RolloutStop:
    code = response.status_code
    said = plain(str(status.get("message", "")), 300)
    quoted = f": {said}" if said else ""
    if code in _REMEDIES:
        outcome, remedy = _REMEDIES[code]
        return RolloutStop(outcome, f"The API server answers {request} with {code}{quoted} - {remedy}.")
    if code == 422 and not status.get("details") and "denied the request" not in said:
        # a failed `test` of a JSON patch; what breaks a rule has details, and a webhook says that it denied
        return RolloutStop(
            RolloutOutcome.CHANGED_MEANWHILE,
            "The workload was changed while it was looked at, so nothing was done; the next pass looks anew.",
        )
    if code == 429 or code >= 500:
        outcome = RolloutOutcome.RATE_LIMITED if code == 429 else RolloutOutcome.API_ERROR
        seconds = _retry_after(response) if "Retry-After" in response.headers or code == 429 else None
        when = "" if seconds is None else f" It is asked again in {seconds:g} s."
        return RolloutStop(
            outcome, f"The API server answers {request} with {code}{quoted} - look at its health.{when}", seconds
        )
    return RolloutStop(
        RolloutOutcome.REJECTED, f"The API server rejects {request} with {code}{quoted} - nothing was changed."
    )


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    seconds = float(text) if text.isascii() and text.isdigit() and len(text) < 10 else RETRY_SECONDS
    return min(max(1.0, seconds), RETRY_SECONDS_MAX)

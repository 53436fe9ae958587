"""One request, with every way it can fail turned into one sentence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

import certifi
from urllib3 import BaseHTTPResponse, HTTPHeaderDict, PoolManager
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from controller.files import SECRET_BYTES_MAX, text_of
from controller.observe.deadline import DeadlinePools
from controller.observe.errors import ObserveError, cause
from controller.observe.secret import without_escaped_secret, without_secret
from controller.plain import plain
from controller.reason import Reason

CHUNK_BYTES: Final = 64 * 1024
CONNECTIONS: Final = 2
"""At once: a store is asked for the next answer while one is on the way."""
_HEADERS: Final = {
    "User-Agent": "adaptive-k",
    "Accept-Encoding": "identity",  # a small compressed page could unpack to any size
    "Connection": "close",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is asked, for the remedies in messages.

    Attributes:
        name: What must run.
        address: What the address must be.
        limit_option: What raises the largest answer.
        timeout_option: What raises the patience.
        bearer_option: What names the token file.
    """

    name: str
    address: str
    limit_option: str
    timeout_option: str
    bearer_option: str


VLLM: Final = Peer("vLLM", "vLLM's API port, path /metrics", "--page-limit-bytes", "--timeout-seconds", "--token-file")
PLUGIN: Final = replace(VLLM, bearer_option="--plugin-token-file")


class Fetcher:
    """Fetches text from one server: bounded in time and size, never redirected, with a token from a file.

    No proxy and no .netrc is looked for: the server is next door. `requests` around urllib3 would double the work.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 5.0,
        limit_bytes: int = 8 * 1024 * 1024,
        token_file: Path | None = None,
        peer: Peer = VLLM,
        ca_file: Path | None = None,
        pools: PoolManager | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            timeout_seconds: For the connection, and again for the whole answer.
            limit_bytes: A larger body is refused before it is held in memory.
            token_file: Its content is sent as a bearer token; read anew for every request, so that it can rotate.
            peer: Who is asked.
            ca_file: PEM bundle to verify the server's certificate with, instead of the usual authorities.
            pools: Carry requests in place of sockets, such as to a server in the same process.
        """
        self._timeout_seconds = timeout_seconds
        self._limit_bytes = limit_bytes
        self._token_file = token_file
        self._peer = peer
        self._ca_file = ca_file
        self._pools = pools or DeadlinePools(
            num_pools=1, maxsize=CONNECTIONS, cert_reqs="CERT_REQUIRED", ca_certs=str(ca_file or certifi.where())
        )

    def get(self, url: str, accept: str) -> str:
        """The body at `url` as text.

        Raises:
            ObserveError: With the cause and the remedy.
        """
        status, headers, text = self.exchange("GET", url, {"Accept": accept})
        _refuse_status(status, headers, url, self._peer)
        return text

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], str]:
        """Send one request: status, headers and body of the answer, whatever the status.

        Raises:
            ObserveError: There was no whole answer; with the cause and the remedy.
        """
        sent = {**_HEADERS, **headers, **bearer(self._token_file, self._peer.bearer_option)}
        try:
            with self._begun(method, url, sent, body) as response:
                if response.status == HTTPStatus.OK:
                    _refuse_compressed(response, url, self._peer)
                redirects = 300 <= response.status < 400  # it is not followed, so its body is not read either
                text = "" if redirects else self._text(response, url)
        finally:
            self._pools.clear()  # a kept connection may end just when the next pass asks
        authorization = sent.get("Authorization")
        told = HTTPHeaderDict(
            {name: without_secret(response.headers[name], authorization) for name in response.headers}
        )
        quoted = response.status != HTTPStatus.OK  # and then read as JSON
        return response.status, told, (without_escaped_secret if quoted else without_secret)(text, authorization)

    def _begun(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> BaseHTTPResponse:
        """The answer, its body not yet read."""
        try:
            return self._pools.urlopen(
                method,
                url,
                headers=headers,
                body=body,
                timeout=self._timeout_seconds,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except SSLError as error:
            raise self._untrusted(url, error) from error
        except (HTTPError, OSError) as error:
            if isinstance(error, Urllib3TimeoutError) and not isinstance(error, NewConnectionError):
                raise self._timeout(url) from error
            raise ObserveError(
                Reason.SERVER_UNREACHABLE,
                f"No connection to {url} ({cause(error)}): check that {self._peer.name} runs, and that the address is "
                f"{self._peer.address}.",
            ) from error

    def _text(self, response: BaseHTTPResponse, url: str) -> str:
        try:
            return b"".join(self._chunks(response, url)).decode("utf-8")
        except Urllib3TimeoutError as error:
            raise self._timeout(url) from error
        except HTTPError as error:
            raise ObserveError(
                Reason.PAGE_CUT,
                f"{url} closed the connection in the middle of the page: the server may be restarting. Try again.",
            ) from error
        except UnicodeDecodeError as error:
            raise ObserveError(
                Reason.NOT_METRICS,
                f"The answer of {url} is not text (byte {error.start} is not UTF-8): check that the address is "
                f"{self._peer.address}.",
            ) from error

    def _chunks(self, response: BaseHTTPResponse, url: str) -> Iterator[bytes]:
        """What has arrived, as it arrives."""
        size = 0
        while chunk := response.read1(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if size > self._limit_bytes:
                raise ObserveError(
                    Reason.PAGE_TOO_LARGE,
                    f"The page of {url} is larger than {self._limit_bytes} bytes: check that the address is "
                    f"{self._peer.address}, or raise {self._peer.limit_option}.",
                )
            yield chunk

    def _timeout(self, url: str) -> ObserveError:
        return ObserveError(
            Reason.SERVER_TIMEOUT,
            f"{url} did not answer within {self._timeout_seconds:g} s: the server hangs or is overloaded. "
            f"Look at its log; raise {self._peer.timeout_option} if it is only slow.",
        )

    def _untrusted(self, url: str, error: SSLError) -> ObserveError:
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            message = (
                f"The certificate of {url} is for another host: use the host name that it was issued for."
                if "is not valid for" in text
                else f"The certificate of {url} is not trusted: give the authority that signed it with --ca-file."
            )
            return ObserveError(Reason.TLS_FAILED, message)
        if isinstance(error.__cause__, OSError):  # only the CA file is read on the way
            return self._bad_ca_file()
        return ObserveError(
            Reason.TLS_FAILED, f"No TLS with {url}: if the server has none, give its address with http://."
        )

    def _bad_ca_file(self) -> ObserveError:
        return ObserveError(
            Reason.FILE_UNREADABLE,
            f"The CA file {self._ca_file} holds no readable certificate: give a PEM file with --ca-file.",
        )


def bearer(token_file: Path | None, option: str = "--token-file") -> dict[str, str]:
    """The Authorization header from a token file; empty without one. The token itself is never logged."""
    if token_file is None:
        return {}
    try:
        token = text_of(token_file, SECRET_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ObserveError(
            Reason.FILE_UNREADABLE,
            f"The token file {token_file} cannot be read ({cause(error)}): give a readable file with {option}.",
        ) from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ObserveError(
            Reason.FILE_UNREADABLE,
            f"The token file {token_file} does not hold a token: one line of letters, digits and signs is expected.",
        )
    return {"Authorization": f"Bearer {token}"}


def _refuse_status(status: int, headers: Mapping[str, str], url: str, peer: Peer) -> None:
    if status == HTTPStatus.OK:
        return
    if 300 <= status < 400:
        target = plain(headers.get("Location", "").partition("?")[0]) or "another address"
        raise ObserveError(
            Reason.SERVER_REDIRECTS,
            f"{url} redirects to {target} (status {status}); redirects are not followed, so that no token goes astray. "
            "Give the final address.",
        )
    if status in (401, 403):
        raise ObserveError(
            Reason.SERVER_REFUSES,
            f"{url} refuses access (status {status}): give a file with its token by {peer.bearer_option}, or check it.",
        )
    raise ObserveError(
        Reason.SERVER_ERROR,
        f"{url} answered with status {status}: check that the address is {peer.address}, and look at the server's log.",
    )


def _refuse_compressed(response: BaseHTTPResponse, url: str, peer: Peer) -> None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise ObserveError(
            Reason.NOT_METRICS,
            f"{url} answers in {plain(encoding, 20)}, although plain text was asked for: give {peer.name}'s own "
            "address, not that of a proxy in front.",
        )

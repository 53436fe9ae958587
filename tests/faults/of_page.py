"""Faults of the metrics page: it cannot be had, or cannot be believed."""

import gzip
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Final
from unittest.mock import patch

from faults.fault import Fault, Meanwhile, answers, edits
from faults.stage import Setting, Stage
from loopback import Answer, answer, drip, drip_headers, flood, hang, self_signed

from controller.reason import Reason

METRICS: Final = "/metrics"
HOST: Final = "vllm.example"


@contextmanager
def refused(stage: Stage) -> Iterator[None]:
    """Nothing listens."""
    stage.network.refuse()
    yield
    stage.network.listen()


@contextmanager
def distrusted(stage: Stage) -> Iterator[None]:
    """The certificate is renewed, and nobody whom the sidecar knows signed it."""
    (stage.folder / "other").mkdir()
    stage.network.refuse()
    stage.network.listen(self_signed(stage.folder / "other"))
    yield
    stage.network.refuse()
    stage.network.listen()


class Names:
    """A resolver that knows one name more, for as long as it answers."""

    def __init__(self) -> None:
        self.gone = False
        self._knows = socket.getaddrinfo

    def __call__(self, host: str, *rest: Any, **more: Any) -> Any:
        """See `socket.getaddrinfo`."""
        if host == HOST and self.gone:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._knows("127.0.0.1" if host == HOST else host, *rest, **more)


NAMES: Final = Names()


@contextmanager
def nameless(_: Stage) -> Iterator[None]:
    """The name is not known any more."""
    NAMES.gone = True
    yield
    NAMES.gone = False


TURNS: Final = cycle((answer("", "503 Service Unavailable"), None))


def flapping(text: str) -> bytes:
    """Every other request finds nobody."""
    return next(TURNS) or answer(text)


def damaged(text: str) -> bytes:
    """A counter is no number."""
    return answer(re.sub(r"(?m)^(vllm:generation_tokens_total\S+) .*$", r"\1 NaN", text))


def torn(text: str) -> bytes:
    """The counters contradict each other."""
    return answer(re.sub(r"(?m)^(vllm:spec_decode_num_accepted_tokens_total\S+) .*$", r"\1 9e9", text))


def page(name: str, happens: str, given: Answer, reason: Reason, **more: Any) -> Fault:
    """A fault that is another answer to a scrape."""
    return Fault(name=f"page: {name}", happens=happens, inflict=answers(METRICS, given), sees=(reason,), **more)


START: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
LOOP: Final = answer("moved", "302 Found", f"Location: {METRICS}")
FAULTS: Final = (
    Fault(
        name="page: refused",
        happens="Nothing listens at the server's port.",
        inflict=refused,
        sees=(Reason.SERVER_UNREACHABLE,),
    ),
    Fault(
        name="page: refused for longer than the time to live",
        happens="The same for two minutes.",
        inflict=refused,
        lasts_seconds=120,
        meanwhile=Meanwhile.LAUNCH,
        sees=(Reason.SERVER_UNREACHABLE,),
    ),
    page("hangs", "The connection is taken, and nothing is said.", hang, Reason.SERVER_TIMEOUT),
    page("headers drip", "Headers come byte by byte, for ever.", drip_headers, Reason.SERVER_TIMEOUT),
    page("body drips", "The page comes byte by byte, for ever.", drip, Reason.SERVER_TIMEOUT),
    page("cut", "The connection ends in mid-page.", START + b"vllm:num_requests_running 1\n", Reason.PAGE_CUT),
    page("closed", "The connection ends without an answer.", b"", Reason.SERVER_UNREACHABLE),
    page("empty", "The page is empty.", answer(""), Reason.PAGE_EMPTY),
    page("garbage", "The page is not text.", answer(b"\x7fELF\xff\xfe\x00"), Reason.NOT_METRICS),
    page("a login page", "A proxy asks who is there, in HTML.", answer("<html>Sign in</html>"), Reason.NOT_METRICS),
    page("another program's", "A metrics page without vLLM's series.", answer("up 1\n"), Reason.NOT_VLLM),
    page("another protocol", "What answers does not speak HTTP.", b"SSH-2.0-x\r\n", Reason.SERVER_UNREACHABLE),
    page("huge", "The page has 100 MB.", flood, Reason.PAGE_TOO_LARGE),
    page(
        "compressed",
        "A few bytes that unpack to 50 MB.",
        answer(gzip.compress(bytes(50_000_000)), "200 OK", "Content-Encoding: gzip"),
        Reason.NOT_METRICS,
    ),
    page("redirects in a circle", "The page redirects to itself.", LOOP, Reason.SERVER_REDIRECTS),
    page("401", "The server wants a token.", answer("", "401 Unauthorized"), Reason.SERVER_REFUSES),
    page("403", "The server refuses the token.", answer("", "403 Forbidden"), Reason.SERVER_REFUSES),
    page("429", "A proxy asks for patience.", answer("", "429 Too Many Requests"), Reason.SERVER_ERROR),
    page("500", "The server fails.", answer("oh", "500 Internal Server Error"), Reason.SERVER_ERROR),
    page("503", "The server does not serve.", answer("", "503 Service Unavailable"), Reason.SERVER_ERROR),
    Fault(
        name="page: a number that is none",
        happens="A counter is NaN.",
        inflict=edits(METRICS, damaged),
        sees=(Reason.BAD_SAMPLE,),
    ),
    Fault(
        name="page: counters that contradict each other",
        happens="More drafts accepted than made.",
        inflict=edits(METRICS, torn),
        sees=(Reason.COUNTERS_DISAGREE,),
        normal_passes=2,
    ),
    Fault(
        name="page: flapping",
        happens="Every other scrape fails.",
        inflict=edits(METRICS, flapping),
        lasts_seconds=95,
        sees=(Reason.SERVER_ERROR,),
    ),
    Fault(
        name="page: TLS failure",
        happens="The certificate is renewed by an authority that the sidecar does not know.",
        inflict=distrusted,
        sees=(Reason.TLS_FAILED,),
        setting=Setting(tls=True),
    ),
    Fault(
        name="page: DNS gone",
        happens="The server's name is not known any more.",
        inflict=nameless,
        sees=(Reason.SERVER_UNREACHABLE,),
        setting=Setting(host=HOST),
    ),
)
RESOLVING: Final = patch.object(socket, "getaddrinfo", NAMES)
"""In force while a matrix is played."""

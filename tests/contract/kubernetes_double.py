"""An API server on the loopback that enforces what a real one does, and fails when told to.

It authenticates, authorises by the Role of docs/rollout.md, applies JSON patches whole or not at all, keeps resource
versions and generations, validates what is written, streams watches and forgets their history.
"""

import copy
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import yaml
from contract.kubernetes_rules import MINORS, RefusedError, patched, refuse_invalid

TOKEN = "token-of-the-service-account"
ROLE_DOCUMENT = Path(__file__).parents[2] / "docs" / "rollout.md"
PATH = re.compile(r"/apis/([^/]+)/v1/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?")
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}
QUERY = {
    "get": set(),
    "create": {"fieldManager"},
    "update": {"fieldManager"},
    "patch": {"fieldManager", "dryRun"},
    "watch": {"watch", "fieldSelector", "resourceVersion", "timeoutSeconds"},
}


@dataclass(frozen=True)
class Sent:
    """One request as it arrived."""

    verb: str
    path: str
    query: dict[str, str]
    body: Any
    content: bytes


@dataclass
class Fault:
    """What goes wrong with the next requests of one verb.

    Attributes:
        verb: get, create, update, patch or watch.
        act: Called instead of an answer; a fault that still carries the request out calls `carry_out`.
        times: How often.
        about: Only requests whose path has this.
    """

    verb: str
    act: Callable[["Request", Callable[[], Any]], None]
    times: int = 1
    about: str = ""


def status(code: int, message: str = "", retry_after: str | None = None) -> Callable[..., None]:
    """Answer so, and do nothing."""

    def act(request: "Request", carry_out: Callable[[], Any]) -> None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        request.answer(code, refusal(RefusedError(code, "", message or f"told to answer {code}")), headers)

    return act


def hang(request: "Request", carry_out: Callable[[], Any]) -> None:
    """Say nothing until the test is over."""
    request.double.stopped.wait()


def cut(request: "Request", carry_out: Callable[[], Any]) -> None:
    """Close the connection before anything is done."""
    request.connection.shutdown(socket.SHUT_RDWR)


def cut_after(request: "Request", carry_out: Callable[[], Any]) -> None:
    """Do it, and close the connection before it is told."""
    carry_out()
    request.connection.shutdown(socket.SHUT_RDWR)


def cut_within(request: "Request", carry_out: Callable[[], Any]) -> None:
    """Do it, and close the connection in the middle of the answer."""
    _, found = carry_out()
    content = json.dumps(found).encode()
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content[:40])
    request.wfile.flush()
    request.connection.shutdown(socket.SHUT_RDWR)


def drip(request: "Request", carry_out: Callable[[], Any]) -> None:
    """A body byte by byte, each well within any timeout."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(100):
        if request.double.stopped.wait(0.02):
            return
        request.wfile.write(b" ")


def flood(request: "Request", carry_out: Callable[[], Any]) -> None:
    """A body of 100 MB."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1000):
        request.wfile.write(b" " * 100_000)


def answer(body: bytes, code: int = 200) -> Callable[..., None]:
    """These bytes, whatever was asked."""

    def act(request: "Request", carry_out: Callable[[], Any]) -> None:
        request.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (code, len(body)) + body)

    return act


def refusal(refused: RefusedError) -> dict[str, Any]:
    """The Status object of a refusal."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refused.message,
        "reason": refused.reason,
        "details": {"causes": [{"message": refused.message}]} if refused.causes else {},
        "code": refused.code,
    }


def role(kind: str = "Deployment") -> list[dict[str, Any]]:
    """The rules of the Role that the document tells people to grant for a workload of this kind named vllm."""
    text = role_text().replace("[deployments]", f"[{kind.lower()}s]").replace("-deployment-", f"-{kind.lower()}-")
    if kind == "LeaderWorkerSet":
        text = text.replace("[apps]", "[leaderworkerset.x-k8s.io]")
    rules: list[dict[str, Any]] = yaml.safe_load(text)["rules"]
    return rules


def role_text() -> str:
    """The Role as the document has it."""
    texts: list[str] = re.findall(r"```yaml\n(.*?)```", ROLE_DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    (text,) = texts
    return text


@dataclass
class Double:
    """The API server. Objects lie under their path; `sent` is all that was asked for."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=role)
    faults: list[Fault] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    token: str = TOKEN
    minors: tuple[str, ...] = MINORS[-1:]
    on_write: Callable[[Sent], None] | None = None
    lock: threading.Condition = field(default_factory=threading.Condition)
    stopped: threading.Event = field(default_factory=threading.Event)
    history: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    forgotten: int = 0
    version: int = 100

    def __enter__(self) -> Self:
        double = self

        class Bound(Request):
            pass

        Bound.double = double
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        with self.lock:
            self.lock.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put(self, thing: dict[str, Any]) -> str:
        """Store an object as if somebody else had written it; its path."""
        group, _, _ = thing["apiVersion"].partition("/")
        plural = f"{thing['kind'].lower()}s"
        metadata = thing["metadata"]
        path = f"/apis/{group}/v1/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
        self.store(path, copy.deepcopy(thing))
        return path

    def change(self, path: str, edit: Callable[[dict[str, Any]], None]) -> None:
        """Somebody else changes an object."""
        with self.lock:
            thing = copy.deepcopy(self.objects[path])
            edit(thing)
            self.store(path, thing)

    def store(self, path: str, thing: dict[str, Any]) -> dict[str, Any]:
        """Give the object its next resourceVersion, its generation when the spec changed, and tell the watchers."""
        with self.lock:
            old = self.objects.get(path)
            if old is not None and "generation" in old["metadata"]:
                thing["metadata"]["generation"] = old["metadata"]["generation"] + (old["spec"] != thing["spec"])
            self.version += 1
            thing["metadata"]["resourceVersion"] = str(self.version)
            self.objects[path] = thing
            self.history.append((self.version, path, copy.deepcopy(thing)))
            self.lock.notify_all()
            return thing

    def forget(self) -> None:
        """Compact the history: older resource versions are 410 Gone."""
        with self.lock:
            self.forgotten = self.version
            self.history.clear()

    def events(self) -> list[dict[str, Any]]:
        """The Events that were written, in order."""
        return [each.body for each in self.sent if each.verb == "create" and each.path.endswith("/events")]


class Request(BaseHTTPRequestHandler):
    """One connection."""

    double: Double
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing."""

    def handle_one_request(self) -> None:
        """As the base class, but a client that has gone is no error."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        """Every method alike."""
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        verb = "watch" if query.get("watch") == "true" else VERBS.get(self.command, self.command)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = Sent(verb, parts.path, query, json.loads(content) if content else None, content)
        double = self.double
        double.sent.append(sent)
        fault = next((each for each in double.faults if each.verb == verb and each.about in parts.path), None)
        if fault is None:
            try:
                self._answer_or_stream(sent)
            except RefusedError as refused:
                self.answer(refused.code, refusal(refused))
            return
        fault.times -= 1
        if fault.times <= 0:
            double.faults.remove(fault)
        fault.act(self, lambda: self._stream(sent) if verb == "watch" else self._carry_out(sent))
        self.close_connection = True

    def _answer_or_stream(self, sent: Sent) -> None:
        if sent.verb == "watch":
            self._admit(sent)
            self._stream(sent)
        else:
            self.answer(*self._carry_out(sent))

    def _carry_out(self, sent: Sent) -> tuple[int, Any]:
        name = self._admit(sent)
        with self.double.lock:
            match sent.verb:
                case "get":
                    return 200, self._stored(sent.path)
                case "create":
                    return 201, self._create(sent)
                case "update":
                    return 200, self._update(sent)
                case "patch":
                    return 200, self._patch(sent)
        raise RefusedError(405, "MethodNotAllowed", f"{sent.verb} {name}")

    def _admit(self, sent: Sent) -> str | None:
        """Authentication, authorisation, the request's own form."""
        if self.headers.get("Authorization") != f"Bearer {self.double.token}":
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        match = PATH.fullmatch(sent.path)
        if match is None:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        group, _, resource, name = match.groups()
        asked = name
        if sent.verb == "watch":  # RBAC knows the name from the field selector
            asked = sent.query.get("fieldSelector", "").removeprefix("metadata.name=") or None
        if not any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and sent.verb in rule["verbs"]
            and ("resourceNames" not in rule or asked in rule["resourceNames"])
            for rule in self.double.rules
        ):
            raise RefusedError(
                403,
                "Forbidden",
                f'{resource}.{group} "{asked}" is forbidden: User "system:serviceaccount:serving:adaptive-k" cannot '
                f'{sent.verb} resource "{resource}" in API group "{group}" in the namespace "serving"',
            )
        assert sent.query.keys() <= QUERY[sent.verb], sent.query
        assert sent.query.get("fieldManager", "adaptive-k") == "adaptive-k"
        wanted = {"patch": "application/json-patch+json", "create": "application/json", "update": "application/json"}
        if sent.verb in wanted and self.headers.get("Content-Type") != wanted[sent.verb]:
            raise RefusedError(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        return name

    def _stored(self, path: str) -> dict[str, Any]:
        if path not in self.double.objects:
            raise RefusedError(404, "NotFound", f"{path.rpartition('/')[2]} not found")
        return self.double.objects[path]

    def _create(self, sent: Sent) -> dict[str, Any]:
        thing = copy.deepcopy(sent.body)
        metadata = thing["metadata"]
        if "name" not in metadata:
            metadata["name"] = metadata["generateName"] + "x7k2p"
        if "resourceVersion" in metadata:
            raise RefusedError(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        refuse_invalid(sent.body, sent.path, self.double.minors)
        path = f"{sent.path}/{metadata['name']}"
        if path in self.double.objects and thing["kind"] != "Event":
            raise RefusedError(409, "AlreadyExists", f"{metadata['name']} already exists")
        return self.double.store(path, thing)

    def _update(self, sent: Sent) -> dict[str, Any]:
        old = self._stored(sent.path)
        if sent.body["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            raise RefusedError(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        refuse_invalid(sent.body, sent.path, self.double.minors)
        return self.double.store(sent.path, copy.deepcopy(sent.body))

    def _patch(self, sent: Sent) -> dict[str, Any]:
        if self.double.on_write is not None:  # a race: between our read and our write
            self.double.on_write(sent)
        old = self._stored(sent.path)
        new = patched(old, sent.body, sent.content)
        refuse_invalid(new, sent.path, self.double.minors)
        for name in ("name", "namespace", "uid", "resourceVersion"):
            assert new["metadata"][name] == old["metadata"][name]
        if sent.query.get("dryRun") == "All":
            return new
        return self.double.store(sent.path, new)

    def _stream(self, sent: Sent) -> None:
        """A watch: every change after a resourceVersion, one JSON a line, until the time is over."""
        since = int(sent.query["resourceVersion"])
        path = f"{sent.path}/{sent.query['fieldSelector'].removeprefix('metadata.name=')}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        double = self.double
        if since < double.forgotten:
            gone = RefusedError(410, "Expired", f"too old resource version: {since} ({double.forgotten})")
            self._line("ERROR", refusal(gone))
            self.wfile.write(b"0\r\n\r\n")
            return
        seconds = int(sent.query["timeoutSeconds"])
        assert seconds >= 1
        while not double.stopped.is_set():
            with double.lock:
                fresh = [each for each in double.history if each[0] > since and each[1] == path]
                if not fresh and not double.lock.wait(timeout=seconds):
                    break
            for version, _, thing in fresh:
                since = version
                self._line("MODIFIED", thing)
        self.wfile.write(b"0\r\n\r\n")

    def _line(self, kind: str, thing: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.flush()

    def answer(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """A JSON document."""
        content = json.dumps(body).encode()
        self.send_response(code)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(content))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

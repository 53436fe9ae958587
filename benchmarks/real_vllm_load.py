"""Closed-loop load on a vLLM server: so many clients, each with one request in flight."""

import random
import sysconfig
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import requests

PROMPT_CHARACTERS: Final = 240
REQUEST_SECONDS: Final = 120
PAUSE_SECONDS: Final = 0.5
"""After a failed request, so that a server that is gone is not asked a thousand times a second."""


class Load:
    """Clients that send one completion after the other; how many of them send can be changed at any time.

    Attributes:
        answered: Requests answered in full.
        failed: What went wrong with the others.
    """

    def __init__(self, url: str, *, most: int, tokens: int, api_key: str | None = None) -> None:
        """Use as a context manager.

        Args:
            url: The server.
            most: The most clients ever wanted.
            tokens: Mean length of a reply; each is half to one and a half of it.
            api_key: The key of `--api-key`, if the server has one.

        Raises:
            requests.RequestException: The server does not tell its models.
        """
        self.answered = 0
        self.failed: list[str] = []
        self._url = url
        self._tokens = tokens
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        models = requests.get(f"{url}/v1/models", headers=self._headers, timeout=REQUEST_SECONDS)
        models.raise_for_status()
        self._model: str = models.json()["data"][0]["id"]
        self._texts = _texts()
        self._changed = threading.Condition()
        self._wanted = 0
        self._over = False
        self._in_flight: set[int] = set()
        self._threads = ThreadPoolExecutor(most)
        self._clients: list[Future[None]] = []
        self._most = most

    def __enter__(self) -> Self:
        self._clients = [self._threads.submit(self._client, number) for number in range(self._most)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._threads.shutdown()
        for each in self._clients:
            each.result()

    def clients(self, wanted: int) -> None:
        """From now on so many clients send. Returns when the requests of those beyond are answered."""
        assert wanted <= self._most
        with self._changed:
            self._wanted = wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(number < wanted for number in self._in_flight))

    def _client(self, number: int) -> None:
        draws = random.Random(number)
        with requests.Session() as session:
            while self._may_send(number):
                failure = self._send(session, draws)
                with self._changed:
                    self._in_flight.remove(number)
                    if failure is None:
                        self.answered += 1
                    else:
                        self.failed.append(failure)
                        self._changed.wait_for(lambda: self._over, timeout=PAUSE_SECONDS)
                    self._changed.notify_all()

    def _may_send(self, number: int) -> bool:
        """Waits until this client is wanted; False when the load is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or number < self._wanted)
            if not self._over:
                self._in_flight.add(number)
            return not self._over

    def _send(self, session: requests.Session, draws: random.Random) -> str | None:
        """One greedy completion of a piece of text; what went wrong, or None.

        Lengths vary: clients whose replies are all of one length read their prompts together, for ever.
        """
        text = draws.choice(self._texts)
        wanted = draws.randint(self._tokens // 2, self._tokens + self._tokens // 2)
        start = draws.randrange(len(text) - PROMPT_CHARACTERS)
        body = {
            "model": self._model,
            "prompt": text[start : start + PROMPT_CHARACTERS],
            "max_tokens": wanted,
            "temperature": 0,
            "ignore_eos": True,
        }
        try:
            response = session.post(
                f"{self._url}/v1/completions", json=body, headers=self._headers, timeout=REQUEST_SECONDS
            )
            response.raise_for_status()
            got: int = response.json()["usage"]["completion_tokens"]
        except (requests.RequestException, ValueError, KeyError) as error:
            return repr(error)
        return None if got == wanted else f"{got} tokens instead of {wanted}"


def _texts() -> list[str]:
    """The longer modules of the standard library: text that every machine has."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return [text for file in files if len(text := file.read_text("utf-8", errors="replace")) > 20_000]

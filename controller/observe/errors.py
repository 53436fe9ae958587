"""The one error of observation: a page could not be had, or could not be believed."""

import re

from controller.reason import Reason


class ObserveError(Exception):
    """One sentence that names the cause and the remedy, and its `Reason`.

    Raised only in `controller.observe`, caught only in `Controller.step`, where it becomes a `Cycle`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def cause(error: BaseException) -> str:
    """The innermost cause of an error in a few words, without object addresses.

    >>> cause(OSError(2, "No such file or directory"))
    'No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    for pattern, words in (
        (r"Connection refused", "connection refused"),
        (
            r"Name or service not known|nodename nor servname|getaddrinfo|NameResolution",
            "the host name is not known",
        ),
        (r"No route to host", "no route to host"),
        (r"Network is unreachable", "network is unreachable"),
        (r"CERTIFICATE_VERIFY_FAILED: ([^(\]]+)", ""),
        (r"(?:reset by peer|RemoteDisconnected|Connection aborted)", "the connection was closed"),
    ):
        if match := re.search(pattern, text):
            return words or match.group(1).strip()
    return type(error).__name__

"""The one error of observation: a page could not be had, or could not be believed."""

import re
from typing import Final

from controller.reason import Reason


class ObserveError(Exception):
    """One sentence that names the cause and the remedy, and its `Reason`.

    Raised where something outside is read or asked; `Controller.step` makes it a `Cycle`, and a verb without a loop a
    line on stderr.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_CAUSES: Final = (
    (r"Connection refused", "connection refused"),
    (r"Name or service not known|nodename nor servname|getaddrinfo|NameResolution", "the host name is not known"),
    (r"Failed to parse|Invalid URL|label", "the address is not a valid one"),
    (r"No route to host", "no route to host"),
    (r"Network is unreachable", "network is unreachable"),
    (r"BadStatusLine|LineTooLong|got more than", "it does not answer in HTTP"),
    (r"reset by peer|RemoteDisconnected|Connection aborted", "the connection was closed"),
    (r"codec can't decode", "it is not UTF-8 text"),
)


def cause(error: BaseException) -> str:
    """The innermost cause of an error in a few words, without object addresses.

    >>> cause(OSError(2, "No such file or directory"))
    'No such file or directory'
    >>> cause(ConnectionError("HTTPConnectionPool(...): [Errno 111] Connection refused"))
    'connection refused'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.partition(" (")[0]  # without the address, which stands in the sentence already
    text = str(error)
    return next((words for pattern, words in _CAUSES if re.search(pattern, text)), type(error).__name__)

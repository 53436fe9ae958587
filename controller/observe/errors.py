"""The one error of observation: a page could not be had, or could not be believed."""

from controller.reason import Reason


class ObserveError(Exception):
    """One sentence that names the cause and the remedy, and its `Reason`.

    Raised only in `controller.observe`, caught only in `Controller.step`, where it becomes a `Cycle`.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

"""A fault of our own, told like any other failure: a process that ends would only meet it again."""

import traceback
from pathlib import PurePath

from controller.cycle import Failure
from controller.reason import Reason


def defect(error: Exception) -> Failure:
    """The failure that an exception becomes which nobody foresaw. Its text is left out, since it may quote anything.

    >>> try:
    ...     {}["x"]
    ... except KeyError as error:
    ...     print(defect(error).message.partition(" (")[0])
    A defect of adaptive-k: KeyError
    """
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Failure(
        Reason.DEFECT,
        f"A defect of adaptive-k: {type(error).__name__} ({PurePath(frame.filename).name}, line {frame.lineno}, "
        f"{frame.name}). Nothing more is done in this pass, and a schedule that is not renewed ends by itself. Report "
        "this line, and return to the last version if it comes back.",
    )

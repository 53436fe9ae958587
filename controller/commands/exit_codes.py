"""What the command's exit status means."""

from typing import Final

OK: Final = 0
"""Done."""
FAILED: Final = 1
"""The server or the pages could not be used; the message says why."""
USAGE: Final = 2
"""An option is wrong."""
NO_EVIDENCE: Final = 3
"""Everything works, but there is not enough evidence to judge."""
CHANGE: Final = 10
"""With --exit-code: a change is recommended."""

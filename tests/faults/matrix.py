"""All faults, in the order of the table."""

from typing import Final

from faults import of_page, of_plugin, of_server, of_sidecar
from faults.fault import Fault, Row

PLAYED: Final[tuple[Fault, ...]] = (*of_page.FAULTS, *of_server.FAULTS, *of_plugin.FAULTS, *of_sidecar.FAULTS)
"""In virtual time."""
ROWS: Final[tuple[Row, ...]] = (*PLAYED, *of_sidecar.ELSEWHERE)

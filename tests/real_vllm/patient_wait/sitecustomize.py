"""Lets vLLM's processes wait for each other asleep, so that a small machine has time for whoever watches them.

vLLM's engine and worker poll shared memory, and call `os.sched_yield` between two looks. On Linux 6.18 with two cores
this starves every other process: one that wanted a millisecond of computing fifty times a second waited on the run
queue for up to 3 s at a time, and with vLLM asleep between the looks for 0.06 s. Python imports this module by its
name from `PYTHONPATH`, in each process of vLLM.
"""

import os
import time

NAP_SECONDS = 2e-5
"""With the kernel's own slack it is about a tenth of a millisecond, of steps that take ten."""


def _nap() -> None:
    time.sleep(NAP_SECONDS)


os.sched_yield = _nap

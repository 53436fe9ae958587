"""`controller doctor`: what a server is, and what can be done with it."""

import json
from dataclasses import asdict

from controller.clock import SystemClock
from controller.commands.connection import fetcher, http_source, plugin_fetcher
from controller.commands.exit_codes import FAILED, OK
from controller.observe.errors import ObserveError
from controller.observe.inspect import Identity, inspect
from controller.observe.plugin import PluginSource
from controller.observe.snapshot import Snapshot
from controller.observe.speculation import Speculation
from controller.options.verbs import DoctorOptions
from controller.report.doctor import Level, examine, text

PATIENT_SECONDS = 30.0
"""The first /server_info gathers facts about the machine before it answers."""


def doctor(options: DoctorOptions) -> int:
    """Examine a server and print the findings; fails when one of them is a problem."""
    clock = SystemClock()
    patient = fetcher(options, max(PATIENT_SECONDS, options.timeout_seconds))
    identity: Identity | ObserveError
    snapshots: tuple[Snapshot, ...] | ObserveError
    try:
        identity = inspect(options.url, fetcher(options), patient)
    except ObserveError as error:
        identity = error
    try:
        snapshots = http_source(options, clock).read()
    except ObserveError as error:
        snapshots = error
    findings = examine(identity, snapshots, None if isinstance(identity, ObserveError) else _plugin(options))
    if options.output == "json":
        print(json.dumps({"schema": 1, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print(text(findings))
    return FAILED if any(finding.level is Level.PROBLEM for finding in findings) else OK


def _plugin(options: DoctorOptions) -> Speculation | ObserveError:
    """What the engine plugin tells whoever asks without a token."""
    try:
        return PluginSource(options.url, plugin_fetcher(options, None)).read()
    except ObserveError as error:
        return error

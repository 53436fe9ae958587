"""The parts of `controller run --mode rollout`: from settings to an actuator that rolls the workload."""

import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from controller.act.rollout.actuator import RolloutActuator
from controller.act.rollout.api import SERVICE_ACCOUNT, ApiServer, in_cluster
from controller.act.rollout.orders import RolloutOrders
from controller.act.rollout.place import FLAGS
from controller.act.rollout.result import Edit, Patch, RolloutOutcome, RolloutResult, RolloutStop
from controller.act.rollout.settings import HOUR_SECONDS, RolloutSettings
from controller.act.rollout.workload import Kind
from controller.clock import Clock
from controller.files import SECRET_BYTES_MAX, text_of
from controller.observe.errors import cause
from controller.options.base import SettingsError
from controller.options.run import RunOptions
from controller.serve.log import event

WATCH_SECONDS: Final = 5.0
"""How long a pass may wait for news of a rollout, and at most half an interval."""
LEASE_SECONDS: Final = 60
"""How long the Lease is kept, and at least three intervals: it is renewed by passes."""
_WAITING: Final = frozenset(
    {
        RolloutOutcome.TOO_SOON,
        RolloutOutcome.TOO_MANY_TODAY,
        RolloutOutcome.NOT_WORTH_A_RESTART,
        RolloutOutcome.NOT_LEADER,
        RolloutOutcome.WORKLOAD_BUSY,
    }
)
"""Outcomes that last, and whose sentences hold numbers that change with every pass."""


def rollout_actuator(options: RunOptions, clock: Clock, frozen: Callable[[], bool]) -> RolloutOrders:
    """What carries orders out by rolling the workload that the options name. Nothing is asked of the API server yet.

    Raises:
        SettingsError: The API server or the namespace is not known.
    """
    try:
        server = _api_server(options)
    except RolloutStop as stop:
        raise SettingsError(f"{stop.sentence} Outside of a cluster give --rollout-api-url.") from stop
    rollout = RolloutActuator(rollout_settings(options), server, clock)
    return RolloutOrders(rollout, frozen, Teller(clock).tell)


def rollout_settings(options: RunOptions) -> RolloutSettings:
    """The options in the actuator's own terms.

    Raises:
        SettingsError: The namespace is neither given nor told by a service account.
    """
    assert options.rollout_kind is not None
    assert options.rollout_name is not None
    return RolloutSettings(
        namespace=options.rollout_namespace or _namespace(options.rollout_service_account or SERVICE_ACCOUNT),
        kind=Kind(options.rollout_kind),
        name=options.rollout_name,
        identity=_identity(options.listen),
        container=options.rollout_container,
        variable=options.rollout_variable,
        method=options.method,
        use_schedule=options.rollout_schedule,
        startup_seconds=options.rollout_startup_seconds,
        horizon_seconds=options.rollout_horizon_hours * HOUR_SECONDS,
        minimum_interval_seconds=options.rollout_minimum_interval_hours * HOUR_SECONDS,
        changes_a_day=options.rollout_changes_per_day,
        rollout_timeout_seconds=options.rollout_timeout_seconds,
        settle_seconds=options.rollout_settle_seconds,
        watch_seconds=min(WATCH_SECONDS, options.interval_seconds / 2),
        lease_seconds=max(LEASE_SECONDS, math.ceil(3 * options.interval_seconds)),
        dry_run=options.rollout_dry_run,
    )


class Teller:
    """Logs what came of a pass, once and not on every pass on which it is still so."""

    def __init__(self, clock: Clock) -> None:
        """Has told nothing yet."""
        self._clock = clock
        self._told: object = None

    def tell(self, result: RolloutResult) -> None:
        """One event, with the patch where there is one."""
        if result.outcome is RolloutOutcome.NOTHING_TO_DO:
            return
        sentence = "" if result.outcome in _WAITING else result.sentence
        news = result.outcome, sentence, result.edit, result.warnings
        if news == self._told:
            return
        self._told = news
        more: dict[str, Any] = {}
        if result.edit is not None:
            more |= {"before": result.edit.before, "after": result.edit.after, "patch": _shown(result)}
        if result.warnings:
            more["warnings"] = result.warnings
        event("rollout", self._clock.unix_seconds(), outcome=result.outcome.value, **more, message=result.sentence)


def _shown(result: RolloutResult) -> Patch:
    """The patch as it is sent, but for what stands around the config in a shell script: that may hold a token."""
    edit = result.edit
    assert edit is not None
    return tuple(
        operation | {"value": _without_surroundings(operation["value"], edit)}
        if operation["path"] == edit.pointer
        else operation
        for operation in result.patch
    )


def _without_surroundings(whole: str, edit: Edit) -> str:
    config = edit.before if edit.before in whole else edit.after
    before, _, after = whole.partition(config)
    argument = before in {f"{flag}=" for flag in FLAGS}
    return f"{before if argument else before and '…'}{config}{after and '…'}"


def _identity(listen: str) -> str:
    """The pod's name, the same after a restart; on the host's network the node's, where each pod has its own port."""
    return f"{socket.gethostname()}:{listen.rpartition(':')[2]}"


def _api_server(options: RunOptions) -> ApiServer:
    """A token is sent to the pod's own API server, or where the operator names both, and nowhere else."""
    folder = options.rollout_service_account
    if options.rollout_api_url is None:
        return in_cluster(os.environ, folder or SERVICE_ACCOUNT)
    url = options.rollout_api_url.rstrip("/")
    return ApiServer(url) if folder is None else ApiServer(url, folder / "token", _if_there(folder / "ca.crt"))


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def _namespace(folder: Path) -> str:
    path = folder / "namespace"
    try:
        found = text_of(path, SECRET_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The namespace of the workload is not known, for {path} cannot be read ({cause(error)}): give "
            "--rollout-namespace."
        ) from error
    if not found:
        raise SettingsError(f"The namespace of the workload is not known, for {path} is empty: give it.")
    return found

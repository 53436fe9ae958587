"""The entry point of the group `vllm.general_plugins`: vLLM calls `register` in each of its processes.

It adds one method to EngineCore, which the HTTP side calls through vLLM's own channel, and wraps one method of the
Scheduler; another one of those objects whose drafts have to be cut. Where vLLM lacks one of them it adds nothing, says
so once, and the server serves as without it. Measuring begins with a scheduler's first step; where it cannot, k can be
changed all the same.
"""

import importlib
import inspect
import multiprocessing
from collections.abc import Callable
from functools import wraps
from typing import Any

from . import meter
from .control import Answer
from .scheduler import LOG, Reins
from .wanted import Wanted

ENGINE_METHOD = "adaptive_k_speculation"
GET_MEASURED = "GET measured"
"""What the engine is asked for a GET with a token: as `GET`, and what was measured with it."""
REINS = "_adaptive_k_reins"
METER = "_adaptive_k_meter"
"""On a scheduler: None before its first step, then its meter, or False where nothing is measured."""
ENGINE = ("vllm.v1.engine.core", "EngineCore")
SCHEDULER = ("vllm.v1.core.sched.scheduler", "Scheduler")


def register() -> None:
    """Install the engine side; a second call changes nothing."""
    engine, scheduler = _class(*ENGINE), _class(*SCHEDULER)
    lacking = missing(engine, scheduler)
    if not lacking:
        install(engine, scheduler)
    elif multiprocessing.parent_process() is None:  # one line, not one for each of vLLM's processes
        LOG.warning(
            "adaptive-k: k cannot be changed live, this vLLM lacks %s; it serves as without the plugin", lacking
        )


def unavailable() -> str | None:
    """What this vLLM lacks of what the plugin needs; None when nothing."""
    return missing(_class(*ENGINE), _class(*SCHEDULER))


def missing(engine: Any, scheduler: Any) -> str | None:
    """What two classes lack of what the plugin needs, as a phrase; None when nothing."""
    if engine is None or scheduler is None:
        return ".".join(ENGINE if engine is None else SCHEDULER)
    if hasattr(engine, ENGINE_METHOD):
        return None  # installed already, so that `schedule` is ours
    if not callable(getattr(scheduler, "update_draft_token_ids", None)):
        return "Scheduler.update_draft_token_ids"
    schedule = inspect.unwrap(getattr(scheduler, "schedule", len))  # another plugin may have wrapped it
    code = getattr(schedule, "__code__", None)
    if "dynamic_sd_lookup" not in getattr(code, "co_names", ()):
        return "Scheduler.schedule with dynamic_sd_lookup (Dynamic SD, vLLM 0.24 or newer)"
    return None


def install(engine: Any, scheduler: Any) -> None:
    """Add the method to the engine's class and wrap that of the scheduler's; once."""
    if hasattr(engine, ENGINE_METHOD):
        return
    setattr(engine, ENGINE_METHOD, answer)
    setattr(scheduler, REINS, None)
    setattr(scheduler, METER, None)
    scheduler.schedule = _expiring(scheduler.schedule)


def answer(self: Any, verb: str, wanted: dict[str, Any] | None = None) -> Answer:
    """Becomes `EngineCore.adaptive_k_speculation`; vLLM calls it between two steps, in the engine's thread."""
    scheduler = self.scheduler
    if not hasattr(type(scheduler), REINS):
        return 503, {"error": f"the scheduler is a {type(scheduler).__name__}, not one of vLLM's own"}
    try:
        reins = _reins(scheduler)
    except AttributeError as error:
        return 503, {"error": f"this vLLM lacks something the plugin needs: {error}"}
    if verb == GET_MEASURED:
        return _with_measured(reins.get(), scheduler)
    if verb == "PUT" and wanted is not None:
        return reins.put(Wanted(**wanted))
    return reins.reset() if verb == "DELETE" else reins.get()


def _with_measured(told: Answer, scheduler: Any) -> Answer:
    """What GET tells, and what was measured where anything is."""
    status, document = told
    measures = _meter(scheduler)
    measured = measures.document() if measures else None
    return status, document if measured is None else {**document, "measured": measured}


def _reins(scheduler: Any) -> Reins:
    """The control of a scheduler, from its first step or the first question on."""
    reins: Reins | None = getattr(scheduler, REINS)
    if reins is None:
        reins = Reins(scheduler)
        setattr(scheduler, REINS, reins)
        if reins.cuts:
            scheduler.update_draft_token_ids = _cutting(scheduler.update_draft_token_ids, reins)
    return reins


def _meter(scheduler: Any) -> meter.Meter | None:
    """What measures a scheduler, likewise; a failure is told once, and not tried again."""
    if getattr(scheduler, METER) is None:
        setattr(scheduler, METER, False)
        try:
            setattr(scheduler, METER, meter.begin(scheduler, _reins(scheduler)) or False)
        except Exception as error:  # noqa: BLE001  (measuring must never reach vLLM)
            LOG.warning("adaptive-k: nothing is measured, because of %s: %s", type(error).__name__, error)
    return getattr(scheduler, METER) or None


def _expiring(schedule: Callable[..., Any]) -> Callable[..., Any]:
    """Judge expiry at the start of a step, so that after idle not one step runs on a schedule that is over.

    The meter is told of each step around it. Attributes by their names, as `REINS` and `METER` say: this runs in every
    step.
    """

    @wraps(schedule)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._adaptive_k_meter is None:
            _meter(self)
        reins, measures = self._adaptive_k_reins, self._adaptive_k_meter
        if reins is None:  # this vLLM lacks something: whoever asks is told what
            return schedule(self, *args, **kwargs)
        now = reins.before_step()
        if not measures or not measures.is_on:
            return schedule(self, *args, **kwargs)
        output = schedule(self, *args, **kwargs)
        measures.plan(output, now)
        return output

    return wrapped


def _cutting(update: Callable[..., Any], reins: Reins) -> Callable[..., Any]:
    """Cut drafts of one scheduler between their proposal and their verification."""

    @wraps(update)
    def wrapped(draft_token_ids: Any) -> Any:
        reins.cut(draft_token_ids)
        return update(draft_token_ids)

    return wrapped


def _class(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None

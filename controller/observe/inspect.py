"""What a server says of itself beside its counters: version, models, and in development mode its launch settings."""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from controller.observe.errors import ObserveError
from controller.observe.http import Fetcher
from controller.reason import Reason

_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Launch:
    """How the server was launched, from `/server_info` (only with VLLM_SERVER_DEV_MODE=1). None: not said."""

    method: str | None
    k_max: int | None
    schedule: tuple[tuple[int, int, int], ...] | None
    adaptive_verification: bool
    data_parallel_size: int | None
    max_num_seqs: int | None
    capture_limit_tokens: int | None
    enforce_eager: bool | None


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a server. None: it does not say.

    Attributes:
        version: vLLM's version.
        models: Served model names; None when `/v1/models` wants an API key we do not have.
        launch: Its launch settings.
    """

    version: str | None
    models: tuple[str, ...] | None
    launch: Launch | None


def inspect(url: str, fetcher: Fetcher, patient_fetcher: Fetcher) -> Identity:
    """Ask a server what it is. `patient_fetcher` waits longer: the first `/server_info` takes seconds to answer.

    Raises:
        ObserveError: The server cannot be reached at all; a path it does not have is no error.
    """
    version = _ask(fetcher, _at(url, "/version"))
    models = _ask(fetcher, _at(url, "/v1/models"))
    info = _ask(patient_fetcher, _at(url, "/server_info", "config_format=json"))
    return Identity(
        version=_text(_field(version, "version")),
        models=_models(models),
        launch=_launch(_field(info, "vllm_config")),
    )


def _ask(fetcher: Fetcher, url: str) -> Any:
    try:
        return json.loads(fetcher.get(url, _JSON))
    except ObserveError as error:
        if error.reason in (
            Reason.SERVER_ERROR,
            Reason.SERVER_REFUSES,
            Reason.NOT_METRICS,
            Reason.SERVER_REDIRECTS,
        ):
            return None
        raise
    except (ValueError, RecursionError):
        return None


def _launch(config: Any) -> Launch | None:
    if not isinstance(config, dict):
        return None
    speculative = config.get("speculative_config")
    return Launch(
        method=_text(_field(speculative, "method")),
        k_max=_number(_field(speculative, "num_speculative_tokens")),
        schedule=_schedule(_field(speculative, "num_speculative_tokens_per_batch_size")),
        adaptive_verification=_field(speculative, "enable_adaptive_verification") is True,
        data_parallel_size=_number(_field(config.get("parallel_config"), "data_parallel_size")),
        max_num_seqs=_number(_field(config.get("scheduler_config"), "max_num_seqs")),
        capture_limit_tokens=_number(_field(config.get("compilation_config"), "max_cudagraph_capture_size")),
        enforce_eager=_flag(_field(config.get("model_config"), "enforce_eager")),
    )


def _models(answer: Any) -> tuple[str, ...] | None:
    entries = _field(answer, "data")
    if not isinstance(entries, list):
        return None
    return tuple(name for entry in entries if (name := _text(_field(entry, "id"))) is not None)


def _schedule(value: Any) -> tuple[tuple[int, int, int], ...] | None:
    if not isinstance(value, list):
        return None
    ranges = [tuple(each) for each in value if isinstance(each, list) and len(each) == 3]
    if len(ranges) != len(value) or not all(_number(part) is not None for each in ranges for part in each):
        return None
    return tuple((low, high, k) for low, high, k in ranges)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _at(url: str, path: str, query: str = "") -> str:
    parts = urlsplit(url)
    base = parts.path.rstrip("/").removesuffix("/metrics")
    return urlunsplit((parts.scheme, parts.netloc, base + path, query, ""))

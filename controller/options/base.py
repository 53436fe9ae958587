"""What every verb's options are made of: where their values come from, and the kinds of value they share."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NewType
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ENV_PREFIX: Final = "ADAPTIVE_K_"


class SettingsError(Exception):
    """An option that does not exist or does not fit: one sentence per problem."""


def _server_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or set(url) & set(" \t\r\n"):
        raise ValueError("an address like http://127.0.0.1:8000 is expected")
    if parts.username or parts.password:
        raise ValueError("credentials do not belong in an address; put the token into a file, with --token-file")
    return url


def _listen_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("host:port is expected, such as 127.0.0.1:9460 or [::1]:9460")
    return address


_LONGEST_SECONDS: Final = 3660 * 86400.0
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def _duration(text: str) -> str:
    if not 0 < seconds_of(text) <= _LONGEST_SECONDS:
        raise ValueError("a time such as 30s, 15m, 12h, 7d or 1d12h is expected, ten years at most")
    return text


def _expression(text: str) -> str:
    try:
        re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:  # the latter two for a{99999999999} and 10,000 brackets
        raise ValueError(f"a regular expression is expected: {error}") from error
    return text


def _file(path: Path) -> Path:
    if path.name in {"", ".."}:  # "" is taken for the present folder
        raise ValueError("a file is expected")
    return path


def seconds_of(duration: str) -> float:
    """Seconds of a time as Prometheus writes it; 0 where it is none.

    >>> seconds_of("1d12h"), seconds_of("30s"), seconds_of("soon")
    (129600.0, 30.0, 0.0)
    """
    parts = _DURATION.findall(duration)
    whole = "".join(number + unit for number, unit in parts) == duration
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if whole else 0.0


# the schemas say less than the validators; they are for those who check values before there is a command to ask
Url = Annotated[
    str, AfterValidator(_server_url), WithJsonSchema({"type": "string", "pattern": r"^https?://[^\s/@?#]+([/?#]\S*)?$"})
]
Expression = Annotated[str, AfterValidator(_expression)]
Listen = Annotated[
    str, AfterValidator(_listen_address), WithJsonSchema({"type": "string", "pattern": r"^\S+:[0-9]{1,5}$"})
]
Duration = Annotated[
    str, AfterValidator(_duration), WithJsonSchema({"type": "string", "pattern": r"^([0-9]+([.][0-9]+)?[smhdw])+$"})
]
File = Annotated[Path, AfterValidator(_file)]
Folder = NewType("Folder", Path)
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Options(BaseSettings):
    """What all verbs share: where settings come from."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, defer_build=True
    )
    from_file: ClassVar[dict[str, Any]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags arrive as `init`; the YAML file's values lie in `from_file`, below the environment."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings, _Given(cls)


class _Given(PydanticBaseSettingsSource):
    """The values of the YAML file that concern this verb."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Not used: the values come whole from `__call__`."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        from_file: Mapping[str, Any] = self.settings_cls.from_file  # type: ignore[attr-defined]
        return {name: value for name, value in from_file.items() if name in self.settings_cls.model_fields}

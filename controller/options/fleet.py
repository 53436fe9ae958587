"""The options of reading a fleet from Prometheus: where it is, how to reach it, which servers, and what makes a row."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from controller.options.base import File, Positive, Url
from controller.options.server import AccessOptions

_LABEL: Final = r"[a-zA-Z_][a-zA-Z0-9_]*"
_STRING: Final = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
_MATCHER: Final = rf"\s*{_LABEL}\s*(?:=~|!~|!=|=)\s*(?:{_STRING})\s*"
_MATCHERS: Final = re.compile(rf"(?:{_MATCHER}(?:,{_MATCHER})*,?\s*)?")
# the schema says nearly as much as the validator, to those who check values before there is a command to ask
_PATTERN: Final = rf"^\s*\{{?({_MATCHER}(,{_MATCHER})*,?\s*)?\}}?\s*$"


def matchers(match: str) -> str:
    """Label matchers without braces around them; nothing else gets into a query.

    >>> matchers('{namespace="llm", pod=~"chat-.*"}')
    'namespace="llm", pod=~"chat-.*"'

    Raises:
        ValueError: It is not a list of matchers, or names a metric.
    """
    found = match.strip()
    if found.startswith("{") and found.endswith("}"):
        found = found[1:-1].strip()
    if not _MATCHERS.fullmatch(found) or re.search(r"(^|,)\s*__name__", found):
        raise ValueError(
            "matchers are expected as they stand between the braces of a selector, such as "
            'namespace="llm",job=~"vllm.*"'
        )
    return found.rstrip(", ")


Match = Annotated[str, AfterValidator(matchers), WithJsonSchema({"type": "string", "pattern": _PATTERN})]


class FleetOptions(AccessOptions):
    """Many servers, by what Prometheus (or Thanos, Mimir, VictoriaMetrics) holds of them."""

    token_file: File | None = Field(
        None, description="File with a bearer token for the server, or for Prometheus; read for each request."
    )
    prometheus_url: Url | None = Field(
        None, description="Address of a Prometheus API, without /api/v1: many servers from there instead of one."
    )
    match: Match = Field(
        "", description="Which servers: label matchers as between the braces of a selector; all without them."
    )
    group_by: str | None = Field(
        None,
        pattern=rf"^{_LABEL}(,{_LABEL})*$",
        description="Labels, joined by commas: one row for all servers that share them, and the model; a row a server "
        "without them.",
    )
    username_file: File | None = Field(None, description="File with the user of basic authentication, at Prometheus.")
    password_file: File | None = Field(None, description="File with its password.")
    org_id: str = Field(
        "", pattern=r"^[!-~]{0,256}$", description="Tenant of a multi-tenant store, sent as X-Scope-OrgID."
    )
    query_timeout_seconds: Positive = Field(30.0, description="For one query of Prometheus.")
    answer_limit_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="A larger answer to one query is refused.")

    @model_validator(mode="after")
    def _whole(self) -> "FleetOptions":
        if self.prometheus_url is None and (self.match or self.group_by):
            raise ValueError("--match and --group-by choose among servers: give --prometheus-url")
        if (self.username_file is None) != (self.password_file is None):
            raise ValueError("--username-file and --password-file go together")
        return self

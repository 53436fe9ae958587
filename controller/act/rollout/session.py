"""Requests to the Kubernetes API, bounded in time and never redirected."""

from typing import Any

import requests

from controller.observe.deadline import POOLS


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Carries requests whose timeout is for the connection, and again for the whole answer: headers and body."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS


class Session(requests.Session):
    """Bounded in time, and never redirected, so that no token goes astray; requests would even read such a body."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, DeadlineAdapter())

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: there is nowhere else to go."""
        del resp

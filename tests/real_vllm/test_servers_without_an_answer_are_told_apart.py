"""A server that does not speculate and one that is not there need different remedies, so they get different words."""

import pytest

from real_vllm.command import controller
from real_vllm.served import Served
from real_vllm.server import free_port

pytestmark = [pytest.mark.real_vllm, pytest.mark.timeout(1800)]


@pytest.mark.slow
@pytest.mark.parametrize("served", [None], indirect=True, ids=["plain"])
def test_a_server_without_speculation_is_named_as_such(served: Served) -> None:
    """It shows no speculative counters: exit 3 at once, with the reason by name, and no invented k."""
    ran = controller("recommend", "--url", served.url, "-o", "json")
    assert ran.status == 3, ran.complaint
    assert ran.server["recommendation"]["reason"] == "no_speculation"
    assert ran.server["k_max"] is None
    assert ran.server["recommendation"]["k"] is None
    assert "speculat" in ran.server["recommendation"]["sentence"]


@pytest.mark.slow
@pytest.mark.parametrize("served", [None], indirect=True, ids=["plain"])
def test_saved_pages_of_it_say_the_same(served: Served) -> None:
    """A bug report with two pages of such a server reads like the server itself."""
    pages = (served.observed.before, served.observed.after)
    ran = controller("recommend", "--source", *pages, "-o", "json")
    assert ran.status == 3, ran.complaint
    assert ran.server["recommendation"]["reason"] == "no_speculation"


def test_a_dead_server_is_unreachable() -> None:
    """Nobody listens: exit 1, one sentence with the cause, no traceback."""
    ran = controller("recommend", "--url", f"http://127.0.0.1:{free_port()}", "-o", "json")
    assert ran.status == 1
    assert [error["reason"] for error in ran.document["errors"]] == ["server_unreachable"]
    assert "connection refused" in ran.complaint
    assert "Traceback" not in ran.complaint

"""What `recommend` reads from two pages of a real server is what the server's clients saw."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from real_vllm.command import controller
from real_vllm.served import K_MAX, Observed, Served, observe

pytestmark = [
    pytest.mark.real_vllm,
    pytest.mark.timeout(1800),  # the first test builds the environment and trains the models
    pytest.mark.parametrize("served", ["draft_model", pytest.param("ngram", marks=pytest.mark.slow)], indirect=True),
]


@pytest.fixture(scope="session")
def read(served: Served) -> dict[str, Any]:
    """The document's server for the two pages around the load."""
    return replayed(served, served.observed)


def replayed(served: Served, observed: Observed) -> dict[str, Any]:
    """What `recommend` makes of the pages of a window."""
    pages = (observed.before, observed.after)
    ran = controller("recommend", "--source", *pages, "--method", served.method, "-o", "json")
    assert ran.status == 0, ran.complaint
    return ran.server


def test_k_max_is_the_launched_value(read: dict[str, Any]) -> None:
    """The number of position labels is num_speculative_tokens, whether or not a method drafts so many."""
    assert read["k_max"] == K_MAX


def test_drafted_and_accepted_are_the_sums_over_the_replies(served: Served, read: dict[str, Any]) -> None:
    """Each reply tells its own drafts; the window holds their sum, prefills and idle seconds notwithstanding."""
    window, truth = read["window"], served.observed.truth
    assert window["drafts"] == pytest.approx(truth.drafts, rel=0.01)
    assert window["draft_tokens"] == pytest.approx(truth.drafted, rel=0.01)
    assert window["accepted_tokens"] == pytest.approx(truth.accepted, rel=0.01)


def test_mean_acceptance_length_is_that_of_the_replies(served: Served, read: dict[str, Any]) -> None:
    """1 + accepted / drafts, over all replies; real acceptance, so a pair that never agrees would prove nothing."""
    assert served.observed.truth.mean_acceptance_length > 1.2
    assert read["mean_acceptance_length"] == pytest.approx(served.observed.truth.mean_acceptance_length, rel=0.01)


def test_evidence_is_the_number_of_verified_drafts(served: Served, read: dict[str, Any]) -> None:
    """Bounds rest on as many drafts as the clients' replies tell of."""
    assert read["evidence_drafts"] == pytest.approx(served.observed.truth.drafts, rel=0.01)


def test_inter_token_latencies_add_up_to_what_the_clients_waited(served: Served, tmp_path: Path) -> None:
    """The histogram's sum is the sum over requests of last chunk - first chunk: a step is timed as it is felt.

    A client that a busy machine keeps from reading sees its first chunk late and measures the machine: then
    another window is looked at, twice at most.
    """
    ratios = []
    for observed in chain([served.observed], (observe(served.url, tmp_path) for _ in range(2))):
        summed = replayed(served, observed)["window"]["inter_token_latency_seconds_sum"]
        ratios.append(summed / observed.truth.decode_seconds)
        if ratios[-1] == pytest.approx(1.0, abs=0.10):
            return
    pytest.fail(f"the page's seconds over the clients' were {ratios} in three windows")


def test_generated_tokens_are_those_billed(served: Served, read: dict[str, Any]) -> None:
    """Every completion token that a reply bills is in the window, bonus tokens and first tokens included."""
    assert read["window"]["generated_tokens"] == served.observed.truth.tokens

"""`recommend --url` on a real server with requests in flight."""

import pytest

from real_vllm.command import controller
from real_vllm.environment import VLLM_VERSION
from real_vllm.load import CONCURRENCY, steady_load
from real_vllm.served import K_MAX, Served
from real_vllm.server import MAX_NUM_SEQS

pytestmark = [
    pytest.mark.real_vllm,
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("served", ["draft_model", pytest.param("ngram", marks=pytest.mark.slow)], indirect=True),
]


def test_one_window_of_a_live_server_is_enough_for_an_answer(served: Served) -> None:
    """Fifteen seconds of load give a judgement or the honest word that it is not enough; k_max is right anyhow."""
    with steady_load(served.url):
        ran = controller("recommend", "--url", served.url, "--window", 15, "--max-num-seqs", MAX_NUM_SEQS, "-o", "json")
    assert ran.status in {0, 3}, ran.complaint
    assert ran.server["k_max"] == K_MAX
    assert ran.server["window"]["draft_tokens"] > 0
    assert 0 < ran.server["decode_batch"] <= CONCURRENCY


def test_doctor_finds_nothing_wrong_with_it(served: Served) -> None:
    """The version and k_max of a real server are told, and it can be worked with."""
    ran = controller("doctor", "--url", served.url)
    assert ran.status == 0, ran.complaint
    assert VLLM_VERSION in ran.output

"""The test-only plugin that sets acceptance: what its file may say, and how a draft is judged by it."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_vllm.synthetic_plugin import adaptive_k_synthetic as plugin  # it imports vLLM only when that registers it


def test_the_last_rate_holds_for_every_later_position() -> None:
    """A file need not know k."""
    assert plugin.rates_of('{"rates": [0.3, 0.1]}', 4) == (0.3, 0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"rates": []}', '{"rates": [0.1, 0.1, 0.1]}', '{"rates": [1.1]}', '{"rates": [-0.1]}',
     '{"rates": [NaN]}', '{"rates": ["0.5"]}', '{"rates": [true]}'],
)  # fmt: skip
def test_a_file_that_says_something_else_is_refused(text: str) -> None:
    """No rate that is not a probability, and not more of them than positions."""
    with pytest.raises(ValueError):
        plugin.rates_of(text, 2)


@given(st.lists(st.integers(0, 9), max_size=6), st.data())
def test_everything_before_the_first_refusal_is_accepted_and_nothing_after(
    drafted: list[int], data: st.DataObject
) -> None:
    """A draft is accepted when its draw lies below its rate."""
    draws = data.draw(st.lists(st.floats(0, 0.999), min_size=len(drafted), max_size=len(drafted)))
    rates = data.draw(st.lists(st.floats(0, 1), min_size=6, max_size=6))
    accepted = plugin.accepted_drafts(drafted, draws, rates)
    assert all(draws[j] < rates[j] for j in range(accepted))
    assert accepted == len(drafted) or draws[accepted] >= rates[accepted]


def test_padding_is_never_accepted() -> None:
    """vLLM pads a shorter draft with negative tokens."""
    assert plugin.accepted_drafts([5, -1, 5], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]) == 1


def test_a_replaced_file_is_read_and_a_broken_one_leaves_what_held(tmp_path: Path) -> None:
    """Before there is a file, the rates of the launch hold."""
    file, launched = tmp_path / "acceptance.json", (0.9, 0.8)
    live = plugin.LiveRates(file)
    assert live.now(launched) == launched
    for text, expected in (('{"rates": [0.3]}', (0.3, 0.3)), ("{", (0.3, 0.3)), ('{"rates": [0.2, 0.1]}', (0.2, 0.1))):
        fresh = tmp_path / "fresh"
        fresh.write_text(text, "utf-8")
        fresh.replace(file)
        assert live.now(launched) == expected


class _Rates(list[float]):
    """What stands for the tensor on the device, counting how often it is written."""

    written = 0

    def tolist(self) -> list[float]:
        """As a tensor does."""
        return list(self)

    def new_tensor(self, values: Sequence[float]) -> list[float]:
        """As a tensor does."""
        return list(values)

    def copy_(self, values: list[float]) -> None:
        """As a tensor does: in place, since kernels hold its address."""
        self.written += 1
        self[:] = values


def test_on_a_gpu_the_samplers_own_rates_are_overwritten_in_place_when_the_file_changes(tmp_path: Path) -> None:
    """Once for each change and not in each step; a sampler without synthetic acceptance is left alone."""
    file = tmp_path / "acceptance.json"
    sampler = SimpleNamespace(synthetic_conditional_rates=_Rates([0.9, 0.8]))
    sample = plugin.following(lambda _sampler, value: value, plugin.LiveRates(file))
    assert [sample(sampler, step) for step in range(3)] == [0, 1, 2]
    file.write_text('{"rates": [0.3]}', "utf-8")
    held = sampler.synthetic_conditional_rates
    before = held.written
    for step in range(3):
        sample(sampler, step)
    assert held is sampler.synthetic_conditional_rates
    assert (list(held), held.written - before) == ([0.3, 0.3], 1)
    assert sample(SimpleNamespace(synthetic_conditional_rates=None), 7) == 7

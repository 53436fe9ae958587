"""Each workload of a mix is told what would serve it best, and what sharing a schedule costs it."""

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from courses import market
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide.mix import answers
from controller.model.acceptance import estimate
from controller.model.composition import Portion
from controller.model.drafter import HEAD, Drafting
from controller.model.evidence import AcceptanceEvidence

MIX: Final = market((0.7, 0.6, 0.5, 0.4))


def evidence(rate: float, drafts: float) -> AcceptanceEvidence:
    """Counts of a constant rate."""
    risks = tuple(drafts * rate**position for position in range(4))
    return AcceptanceEvidence(risks, tuple(rate * each for each in risks), drafts, 4 * drafts, drafts, drafts)


def portion(name: str, counts: AcceptanceEvidence, share: float = 1.0) -> Portion:
    """A workload of these counts."""
    return Portion(name, share, estimate(counts, HEAD))


CODE, PROSE = evidence(0.95, 3000.0), evidence(0.1, 1000.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.0, 1e5)), max_size=5),
    st.floats(1, 128),
    st.floats(0, 4),
)
def test_no_workload_gains_by_sharing(workloads: list[tuple[float, float]], batch: float, mix_k: float) -> None:
    """Each is told apart, in the order in which they came."""
    named = [portion(f"w{index}", evidence(*each), 1 / len(workloads)) for index, each in enumerate(workloads)]
    found = answers(MIX, named, batch, mix_k)
    assert [(each.name, each.share) for each in found] == [(each.name, each.share) for each in named]
    for each in found:
        assert each.cost_of_mix >= 0.0
        assert 0 <= each.k_best <= 4
        if each.k_best == mix_k:
            assert each.cost_of_mix == 0.0


@pytest.mark.parametrize("mix_k", [0.0, 1.5, 4.0])
def test_workloads_priced_together_are_priced_as_each_alone(mix_k: float) -> None:
    """By a market that knows this one's acceptance only, and the coverage of the mix."""
    known = [replace(estimate(each, HEAD), coverage=MIX.acceptance.coverage) for each in (CODE, PROSE)]
    found = MIX.gains_alone(known, 16.0, mix_k)
    for row, each in enumerate(known):
        alone = replace(MIX, acceptance=each).prices([16.0], mix_k)
        for part in ("log_gain", "gain_deviation"):
            np.testing.assert_allclose(getattr(found, part)[row], getattr(alone, part)[0], rtol=1e-9, atol=1e-12)


def test_each_workload_has_its_own_best_k_and_pays_for_another() -> None:
    """Easy code wants all drafts on a lone stream, hard prose few on a full batch; each pays at the other's."""
    code, prose = answers(MIX, [portion("code", CODE, 0.75), portion("prose", PROSE, 0.25)], 16.0, 2.0)
    assert code.k_best > 2 > prose.k_best
    assert code.cost_of_mix > 0.02
    assert prose.cost_of_mix > 0.02
    assert code.margin.low > 0 > prose.margin.high


def test_the_cost_of_the_mix_is_what_its_own_best_k_would_bring() -> None:
    """Throughput there over throughput at the mix's k, minus 1; the margin is that of the mix's k over k=0."""
    (alone,) = answers(MIX, [portion("prose", PROSE)], 16.0, 4.0)
    priced = replace(MIX, acceptance=replace(alone.acceptance, coverage=MIX.acceptance.coverage))
    rates = [score.tokens_per_second for score in priced.prices([16.0], 4.0).scores(0)]
    assert alone.cost_of_mix == pytest.approx(max(rates) / rates[4] - 1)
    assert alone.margin.value == pytest.approx(rates[4] / rates[0] - 1)
    assert rates[alone.k_best] == pytest.approx(max(rates))


def test_a_workload_is_priced_at_the_coverage_of_the_mix() -> None:
    """The engine tells whose drafts were verified, not who was asked for some."""
    rare = replace(CODE, drafting_steps=CODE.drafts / 10)
    often, seldom = (
        replace(MIX, drafting=Drafting.VARIABLE, acceptance=replace(MIX.acceptance, coverage=coverage))
        for coverage in (1.0, 0.3)
    )
    (plain,), (also,), (less,) = (
        answers(market_of, [portion("code", each)], 8.0, 4.0)
        for market_of, each in ((often, CODE), (often, rare), (seldom, CODE))
    )
    assert plain.margin == also.margin
    assert less.margin.value < plain.margin.value


def test_a_workload_alone_is_not_priced_as_a_mix() -> None:
    """What the composition of the mix adds belongs to no single one."""
    mixed = replace(MIX, composition=(1.0, 1.2, 1.1, 1.05, 1.0))
    assert answers(mixed, [portion("code", CODE)], 8.0, 4.0) == answers(MIX, [portion("code", CODE)], 8.0, 4.0)

"""Every way in from outside holds: for the kept inputs, for those close to them, and under coverage-guided fuzzing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.run import fuzz, table
from fuzz.targets import CORPUS, TARGETS, kept, target

TEN_MINUTES = 600
"""For all targets together."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_holds(name: str) -> None:
    """The kept inputs reach all that fuzzing has reached, and hold what once broke something."""
    check = target(name).check
    inputs = kept(name)
    assert inputs
    for each in inputs:
        check(each.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_close_to_it_holds(name: str) -> None:
    """A piece cut out, doubled or replaced."""
    check, inputs = target(name).check, [each.read_bytes() for each in kept(name)]

    @settings(max_examples=15)
    @given(st.sampled_from(inputs), st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12))
    def near(body: bytes, where: float, length: int, piece: bytes) -> None:
        at = round(where * len(body))
        check(body[:at] + piece + body[at + length :])

    near()


def test_the_kept_inputs_stay_small() -> None:
    """They are replayed with each run of the tests, and cloned by everybody."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TARGETS)
def test_ten_minutes_of_fuzzing_find_nothing(name: str, tmp_path: Path) -> None:
    """A tenth or so for each target; whatever breaks is shown with its input."""
    found = fuzz(name, TEN_MINUTES // len(TARGETS), tmp_path)
    print(table([found]))
    assert found.executions > 0
    assert not found.crashes, found.crashes[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_target_that_breaks_is_told_with_its_input(tmp_path: Path) -> None:
    """Otherwise nobody would know that nothing was found."""
    found = fuzz("breaking", 30, tmp_path)
    (crash,) = found.crashes
    assert "RuntimeError: as it should" in crash
    assert Path(crash.rpartition("input: ")[2]).read_bytes()[:1] == b"!"

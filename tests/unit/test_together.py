"""Works that ask in the middle are answered at once, and none is stopped by another."""

from collections.abc import Generator, Sequence

import pytest

from controller.together import together


def work(*questions: int) -> Generator[int, int, list[int]]:
    """Asks one after the other; its result is the answers, and a question that fails counts as -1."""
    told = []
    for each in questions:
        try:
            told.append((yield each))
        except ZeroDivisionError:
            told.append(-1)
    return told


def inverses(asked: Sequence[int]) -> list[int]:
    """Of a hundred."""
    return [100 // each for each in asked]


def test_what_is_asked_at_the_same_time_is_answered_at_once() -> None:
    """However many questions each has, none included; results are in the order of the works."""
    rounds: list[list[int]] = []

    def answer(asked: Sequence[int]) -> list[int]:
        rounds.append([*asked])
        return inverses(asked)

    assert together([work(5, 2), work(), work(10)], answer) == [[20, 50], [], [10]]
    assert rounds == [[5, 10], [2]]


def test_a_question_without_an_answer_fails_where_it_was_asked_and_nowhere_else() -> None:
    """The others are answered one by one, and the work that asked it may go on."""
    assert together([work(5), work(0, 4), work(10)], inverses) == [[20], [-1, 25], [10]]


def test_what_a_work_does_not_catch_ends_all_of_them() -> None:
    """It would be lost else."""

    def fails() -> Generator[int, int, int]:
        yield 1
        raise LookupError("of the work itself")

    with pytest.raises(LookupError, match="of the work itself"):
        together([work(5), fails()], inverses)

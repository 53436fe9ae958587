"""Many works that each ask in the middle of what they do: what all of them ask is answered at once."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


def together(works: Sequence[Generator[Q, A, R]], answer: Callable[[Sequence[Q]], Sequence[A]]) -> list[R]:
    """Run each work up to its question, answer all questions, and go on until every work has its result.

    Questions that cannot be answered at once are answered one by one, and what fails then is raised where it was
    asked: no work is stopped by another.

    >>> def double(number):
    ...     return 1 + (yield number)
    >>> together([double(1), double(5)], lambda asked: [2 * each for each in asked])
    [3, 11]
    """
    results: dict[int, R] = {}
    answers: dict[int, A | Exception | None] = dict.fromkeys(range(len(works)))
    while answers:
        asked: dict[int, Q] = {}
        for place, told in answers.items():
            try:
                asked[place] = _resumed(works[place], told)
            except StopIteration as end:
                results[place] = end.value
        answers = dict(zip(asked, _answered([*asked.values()], answer), strict=True))
    return [results[place] for place in range(len(works))]


def _resumed(work: Generator[Q, A, R], told: A | Exception | None) -> Q:
    """The next question, given the answer to the last one; None before the first."""
    if isinstance(told, Exception):
        return work.throw(told)
    return next(work) if told is None else work.send(told)


def _answered(asked: Sequence[Q], answer: Callable[[Sequence[Q]], Sequence[A]]) -> Sequence[A | Exception]:
    if len(asked) > 1:
        try:
            return answer(asked)
        except Exception:  # noqa: BLE001  (one of them cannot be answered; it is found below)
            return [each for question in asked for each in _answered([question], answer)]
    try:
        return answer(asked) if asked else []
    except Exception as error:  # noqa: BLE001  (whoever asked is told)
        return [error]

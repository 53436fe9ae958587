"""What all tests share."""

from collections.abc import Iterator
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

# a loaded machine is no failure: nothing here is timed
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def faults_of_ours_end_a_test() -> Iterator[None]:
    """In production the loop tells them and goes on; a test is to see them, whatever it looks at."""

    def raised(error: Exception) -> NoReturn:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.loop.defect", raised)
        yield

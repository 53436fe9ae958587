"""What a settled sidecar has learnt."""

import pytest
from faults.stage import Setting, Stage

SETTLED_SECONDS = 200


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a sidecar that has measured what it wanted to."""
    stage = Stage(tmp_path_factory.mktemp("settled"), Setting())
    try:
        stage.run(SETTLED_SECONDS)
        return stage.checkpoint.read_bytes()
    finally:
        stage.close()

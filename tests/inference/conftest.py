import pytest
from detectors import weights_in


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return weights_in(tmp_path_factory.mktemp("weights"))

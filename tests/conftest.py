"""Settings and fixtures of all tests; being here, it also makes tests/golden.py importable."""

import pytest
import torch
from detectors import weights_in
from detectron2.utils.env import seed_all_rng
from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is: no check looks at the clock.
settings.register_profile(
    "autoassign",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("autoassign")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every run: detectron2 draws the order of images from NumPy's."""
    seed_all_rng(0)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a detector's random weights."""
    return weights_in(tmp_path_factory.mktemp("weights"))

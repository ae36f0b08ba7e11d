"""A small generated dataset, and one whole training that several tests look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from training_runs import run

from autoassign.data.shapes import generate_shapes


@pytest.fixture(scope="session", autouse=True)
def statistics_of_every_iteration() -> Iterator[None]:
    """The runs here are shorter than the 20 iterations between two statistics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoassign.modeling.detector._STATISTICS_PERIOD", 1)
        yield


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated shapes: 8 images to train on and 4 to evaluate."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return generate_shapes(folder, num_train=8, num_val=4, seed=3)


@pytest.fixture(scope="session")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of 4 iterations with evaluation after the second; not to be changed."""
    output = tmp_path_factory.mktemp("run") / "trained"
    run(shapes, output)
    return output

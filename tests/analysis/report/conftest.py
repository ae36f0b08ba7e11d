from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from report_runs import make_dataset, make_run


@pytest.fixture(scope="session")
def report_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("report") / "data")


@pytest.fixture(scope="session")
def report_run(report_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run; not to be changed."""
    return make_run(tmp_path_factory.mktemp("report") / "run <1>", report_data)


@pytest.fixture(autouse=True)
def catalogs_kept() -> Iterator[None]:
    """A page registers the datasets of its run."""
    catalogs = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield
    for catalog, data in catalogs:
        catalog.data = data

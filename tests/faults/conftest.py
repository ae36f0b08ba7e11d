"""What goes wrong while the project is used, and the table of what comes of it.

Each test is a fault: its docstring says what goes wrong, and ``outcome(...)`` what came of it.
Tests that are marked ``faults`` run in `make faults` only, which prints the table; the others are
quick and run in `make test` as well. A file holds the faults of one kind.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoassign.data.shapes import generate_shapes


@pytest.fixture
def outcome(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what came of the fault, for the table."""
    return lambda text: record_property("outcome", text)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated shapes: 8 images to train on and 4 to evaluate."""
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", num_train=8, num_val=4)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Iterator[None]:
    report = (yield).get_result()
    text = (item.function.__doc__ or item.originalname).strip().splitlines()[0].rstrip(".")
    if hasattr(item, "callspec"):
        text += f" ({item.callspec.id})"
    report.user_properties.append(("fault", text))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if not any("faults" in argument for argument in config.args):
        return
    rows = []
    for status in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(status):
            properties = dict(report.user_properties)
            if "fault" in properties:
                result = "as it should be" if status == "passed" else status.upper()
                rows.append((report.nodeid, properties["fault"], properties.get("outcome", result)))
    terminalreporter.section("faults and what comes of them")
    for _, fault, result in sorted(rows):
        terminalreporter.write_line(f"{fault}\n    {result}")

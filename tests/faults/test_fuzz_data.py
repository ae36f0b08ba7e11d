"""Many damaged datasets of each format; DATA_FUZZ_COUNT says how many."""

import os

import pytest
from fuzz_data import WRITERS, fuzz

pytestmark = pytest.mark.faults

COUNT = int(os.environ.get("DATA_FUZZ_COUNT", "4000"))


@pytest.mark.parametrize("format_name", WRITERS)
def test_damaged_datasets_are_read_or_refused(format_name, tmp_path, record_property):
    outcomes = fuzz(format_name, tmp_path / "fuzzed", range(10**6, 10**6 + COUNT))
    record_property("outcomes", outcomes)
    print(f"{format_name}: {COUNT} damaged datasets, {outcomes}")
    assert sum(outcomes.values()) == COUNT

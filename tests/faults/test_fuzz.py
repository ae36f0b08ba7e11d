"""Many damaged datasets, config files and command lines; FUZZ_COUNT says how many of each kind."""

import os

import fuzz_data
import fuzz_options
import pytest

pytestmark = pytest.mark.faults

COUNT = int(os.environ.get("FUZZ_COUNT", "4000"))
SEEDS = range(10**6, 10**6 + COUNT)


@pytest.mark.parametrize("format_name", fuzz_data.WRITERS)
def test_damaged_datasets(format_name, tmp_path, outcome):
    """A dataset whose annotations, lists or YAML are damaged"""
    counts = fuzz_data.fuzz(format_name, tmp_path / "fuzzed", SEEDS)
    outcome(f"{counts['read']} of {COUNT} read rightly, {counts['refused']} refused in a sentence")


@pytest.mark.parametrize("what", fuzz_options.DAMAGES)
def test_damaged_options(what, tmp_path, outcome):
    """A config file or the options of a command line are damaged"""
    counts = fuzz_options.fuzz(what, tmp_path / "fuzzed", SEEDS)
    outcome(f"{counts['read']} of {COUNT} read, {counts['refused']} refused in a sentence")
